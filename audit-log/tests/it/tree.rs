//! The tree against published vectors and against the definition in RFC 6962 §2.1.

use audit_log::merkle::{Frontier, leaf_hash, node_hash, root_of_inclusion};
use proptest::prelude::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Inputs and roots of the reference test data of Certificate Transparency (`merkletree` tests).
#[test]
fn roots_are_those_of_the_reference_vectors() {
    let leaves: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = Frontier::new();
    assert_eq!(hex(&tree.root()), roots[0]);
    for (leaf, root) in leaves.iter().zip(&roots[1..]) {
        tree.push(leaf_hash(leaf));
        assert_eq!(hex(&tree.root()), *root);
    }
}

/// `MTH` as RFC 6962 §2.1 defines it.
fn naive_root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [] => Frontier::new().root(),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            node_hash(&naive_root(&leaves[..split]), &naive_root(&leaves[split..]))
        }
    }
}

/// `PATH` as RFC 6962 §2.1.1 defines it.
fn naive_path(index: usize, leaves: &[[u8; 32]]) -> Vec<[u8; 32]> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let split = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(split);
    if index < split {
        let mut path = naive_path(index, left);
        path.push(naive_root(right));
        path
    } else {
        let mut path = naive_path(index - split, right);
        path.push(naive_root(left));
        path
    }
}

proptest! {
    #[test]
    fn the_growing_tree_agrees_with_the_definition(size in 0usize..600, index in any::<prop::sample::Index>(), bit in 0usize..256) {
        let leaves: Vec<_> = (0..size).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect();
        let mut tree = Frontier::new();
        for leaf in &leaves {
            tree.push(*leaf);
        }
        prop_assert_eq!(tree.root(), naive_root(&leaves));
        prop_assert_eq!(Frontier::from_peaks(tree.size(), tree.peaks().to_vec()), Some(tree.clone()));
        if size > 0 {
            let index = index.index(size);
            let path = naive_path(index, &leaves);
            let root = |index: usize, size: usize, leaf, path: &[[u8; 32]]| root_of_inclusion(index as u64, size as u64, leaf, path);
            prop_assert_eq!(root(index, size, leaves[index], &path), Some(tree.root()));
            let mut wrong = leaves[index];
            wrong[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(root(index, size, wrong, &path), Some(tree.root()));
            prop_assert_eq!(root(size, size, leaves[index], &path), None);
            let longer = [&path[..], &[[0; 32]]].concat();
            prop_assert_ne!(root(index, size, leaves[index], &longer), Some(tree.root()));
        }
    }
}
