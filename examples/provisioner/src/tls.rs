//! TLS in front of the API.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tls;

/// Whether only its owner may read a file.
pub(crate) fn private(path: &Path) -> Result<(), String> {
    let known = std::fs::metadata(path).map_err(|error| format!("`{}`: {error}", path.display()))?;
    match known.mode() & 0o777 {
        mode if mode & 0o077 == 0 => Ok(()),
        mode => Err(format!(
            "`{}`: others can get at it (mode {mode:04o}): chmod 600 keeps them out",
            path.display()
        )),
    }
}

/// What certificate and key make.
pub(crate) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, String> {
    let cert = |error: &dyn std::fmt::Display| format!("`{}`: {error}", tls.cert.display());
    let key = |error: &dyn std::fmt::Display| format!("`{}`: {error}", tls.key.display());
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(&tls.cert).and_then(Iterator::collect).map_err(|error| cert(&error))?;
    let private = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| key(&error))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| cert(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
