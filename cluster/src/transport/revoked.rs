//! Certificates that their authority revoked, by its lists (RFC 5280, 5).

use rustls::pki_types::{CertificateRevocationListDer, pem::PemObject};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::tls::TlsError;

/// Authorities, each with the numbers that it took back. Their signatures are not checked: whoever writes the file
/// could as well write the authorities.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Revoked(Vec<(Vec<u8>, Vec<Vec<u8>>)>);

impl Revoked {
    /// The lists in a PEM file; there may be none.
    ///
    /// # Errors
    /// One cannot be read.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Revoked, TlsError> {
        let bad = |error: String| TlsError::Pem { what: "list of revoked certificates", error };
        let lists = CertificateRevocationListDer::pem_slice_iter(pem).map(|list| {
            let list = list.map_err(|error| bad(error.to_string()))?;
            let (_, list) = CertificateRevocationList::from_der(&list)
                .map_err(|error| bad(error.to_string()))?;
            let numbers = list.iter_revoked_certificates().map(|one| one.raw_serial().to_vec());
            Ok((list.issuer().as_raw().to_vec(), numbers.collect()))
        });
        let lists: Vec<_> = lists.collect::<Result<_, TlsError>>()?;
        if lists.is_empty() && !pem.trim_ascii().is_empty() {
            // One in another form would let everybody in whom it takes back.
            return Err(bad("it has no list in PEM".into()));
        }
        Ok(Revoked(lists))
    }

    /// Whether a certificate is one of them; also one that cannot be read.
    pub(super) fn has(&self, certificate: &[u8]) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return true };
        let (issuer, number) = (certificate.issuer().as_raw(), certificate.raw_serial());
        self.0.iter().any(|(by, numbers)| by == issuer && numbers.iter().any(|one| one == number))
    }
}
