//! The client's certificate (mTLS), for transports over rustls.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::error::{Error, ErrorKind};

/// The certificate and key that the client shows in TLS handshakes. Clones are the same one.
///
/// It is changed while it is in use by [`replace`](Self::replace). New connections show the new one; those that are open go on
/// as what they were, and a TLS session that is resumed is resumed as what it was.
#[derive(Clone)]
pub struct ClientCertificate(Arc<RwLock<Arc<CertifiedKey>>>);

impl ClientCertificate {
    /// From PEM with the certificate, the intermediates in order, and the private key (not encrypted), in one text or joined.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where one of them is missing or the key is not the certificate's. The error holds nothing of them.
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(read(pem)?)))))
    }

    /// From the next connection on, this one.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem); the one before then stays.
    pub fn replace(&self, pem: &[u8]) -> Result<(), Error> {
        let next = Arc::new(read(pem)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

fn read(pem: &[u8]) -> Result<CertifiedKey, Error> {
    let invalid = |why: &str| Error::new(ErrorKind::Invalid).detail(why.to_owned());
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or_else(|| invalid("there is no certificate in PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| invalid("there is no private key in PEM that is not encrypted"))?;
    CertifiedKey::from_der(chain, key, &default_provider())
        .map_err(|_| invalid("the private key cannot be used, or is not the certificate's"))
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(…)")
    }
}
