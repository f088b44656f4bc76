//! Makes a certificate authority and node certificates for development, as PEM files.
//!
//! Idempotent, also when several nodes start at once: a lock file orders them, and what exists is
//! kept. The directory is closed to others (0700), as is every file (0600).

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::{
    identity::{Identity, check_cluster},
    tls::{TlsError, TlsFiles},
};
use crate::ids::NodeId;

const CA_CERT: &str = "ca.pem";
const CA_KEY: &str = "ca.key";

/// Makes a certificate authority in `dir`, unless there is one.
///
/// # Errors
/// No authority was made; calling again is safe.
pub fn make_dev_ca(dir: &Path) -> Result<(), TlsError> {
    let _lock = lock(dir)?;
    ensure_ca(dir)
}

/// Makes the certificate of node `id` of `cluster` in `dir`, unless there is one, and returns where it is.
///
/// # Errors
/// No certificate was made; calling again is safe.
pub fn make_node_cert(dir: &Path, cluster: &str, id: NodeId) -> Result<TlsFiles, TlsError> {
    check_cluster(cluster).map_err(TlsError::Identity)?;
    let _lock = lock(dir)?;
    ensure_ca(dir)?;
    let name = format!("{cluster}-node-{}", id.0);
    let files = TlsFiles {
        ca: dir.join(CA_CERT),
        cert: dir.join(format!("{name}.pem")),
        key: dir.join(format!("{name}.key")),
    };
    if files.cert.exists() && files.key.exists() {
        return Ok(files);
    }
    let ca_key = KeyPair::from_pem(&read(&dir.join(CA_KEY))?).map_err(generation)?;
    let issuer = Issuer::new(ca_params(), ca_key);
    let identity = Identity { cluster: cluster.into(), node: id };
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names =
        vec![SanType::URI(identity.to_string().try_into().map_err(generation)?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().map_err(generation)?;
    let cert = params.signed_by(&key, &issuer).map_err(generation)?;
    write(&files.key, &key.serialize_pem())?;
    write(&files.cert, &cert.pem())?;
    Ok(files)
}

fn ensure_ca(dir: &Path) -> Result<(), TlsError> {
    let (cert, key) = (dir.join(CA_CERT), dir.join(CA_KEY));
    if cert.exists() && key.exists() {
        return Ok(());
    }
    let pair = KeyPair::generate().map_err(generation)?;
    let authority = ca_params().self_signed(&pair).map_err(generation)?;
    write(&key, &pair.serialize_pem())?;
    write(&cert, &authority.pem())
}

/// The authority's certificate but for its key: the issuer is rebuilt from these alone.
fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "outlive development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn lock(dir: &Path) -> Result<File, TlsError> {
    let io = |error| TlsError::io(dir, error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(dir.join(".lock"))
        .map_err(io)?;
    file.lock().map_err(io)?;
    Ok(file)
}

/// Writes beside and renames, so a crash leaves no half file under the real name.
fn write(path: &Path, text: &str) -> Result<(), TlsError> {
    let io = |error| TlsError::io(path, error);
    let beside = path.with_extension("tmp");
    let _ = fs::remove_file(&beside);
    let mut file =
        OpenOptions::new().create_new(true).write(true).mode(0o600).open(&beside).map_err(io)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    fs::rename(&beside, path).map_err(io)
}

fn read(path: &Path) -> Result<String, TlsError> {
    fs::read_to_string(path).map_err(|error| TlsError::io(path, error))
}

fn generation(error: rcgen::Error) -> TlsError {
    TlsError::Generation(error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_exists_is_kept_and_closed_to_others() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("tls");
        make_dev_ca(&dir).unwrap();
        let files = make_node_cert(&dir, "blue", NodeId(1)).unwrap();
        let before = [&files.ca, &files.cert, &files.key].map(|path| fs::read(path).unwrap());
        make_dev_ca(&dir).unwrap();
        let again = make_node_cert(&dir, "blue", NodeId(1)).unwrap();
        let after = [&again.ca, &again.cert, &again.key].map(|path| fs::read(path).unwrap());
        assert_eq!(before, after);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        for path in [&files.ca, &files.cert, &files.key] {
            assert_eq!(mode(path), 0o600, "{path:?}");
        }
    }
}
