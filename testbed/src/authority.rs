//! An authority of its own, and a certificate for `localhost` and 127.0.0.1 out of it.

use std::fs;
use std::path::Path;

use crate::Error;
use crate::program::run;

pub(crate) fn make_certificates(dir: &Path) -> Result<(), Error> {
    let path = |name: &str| dir.join(name).display().to_string();
    let openssl = |args: &[&str]| run("openssl", "openssl", args).map(drop);
    const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let extensions = path("leaf.cnf");
    fs::write(&extensions, "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .map_err(Error::io("write", &extensions))?;
    let (ca, ca_key) = (path(CA_CERT), path("ca.key"));
    let (request, cert, key) = (path("leaf.csr"), path(CERT), path(KEY_FILE));
    let subject = ["-subj", "/CN=testbed authority", "-days", "2", "-keyout", &ca_key, "-out", &ca];
    openssl(&[&["req", "-x509"], &KEY[..], &subject[..]].concat())?;
    let subject = ["-subj", "/CN=localhost", "-keyout", &key, "-out", &request];
    openssl(&[&["req", "-new"], &KEY[..], &subject[..]].concat())?;
    openssl(&[
        "x509",
        "-req",
        "-in",
        &request,
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-set_serial",
        "2",
        "-days",
        "2",
        "-extfile",
        &extensions,
        "-out",
        &cert,
    ])
}

pub(crate) const CA_CERT: &str = "ca.crt";
pub(crate) const CERT: &str = "leaf.crt";
pub(crate) const KEY_FILE: &str = "leaf.key";
