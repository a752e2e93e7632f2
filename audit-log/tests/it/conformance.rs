use audit_log::{FileKeys, FileStore, MemoryKeys, MemoryStore, conformance};

#[test]
fn memory_store_conforms() {
    let store = MemoryStore::new();
    conformance::store(|| store.clone());
}

#[test]
fn file_store_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conformance::store(|| FileStore::open(directory.path().join("audit")).unwrap());
}

#[test]
fn memory_keys_conform() {
    let keys = MemoryKeys::generate().unwrap();
    conformance::keys(|| keys.clone());
}

#[test]
fn file_keys_conform() {
    let directory = tempfile::tempdir().unwrap();
    conformance::keys(|| FileKeys::open(directory.path().join("keys")).unwrap());
}
