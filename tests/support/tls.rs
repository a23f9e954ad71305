//! Certificates made for a test.

/// An authority and what it signed, as files for the client and PEM for the server.
pub struct Authority {
    dir: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            dir: tempfile::tempdir().unwrap(),
            issuer: rcgen::Issuer::new(params, key),
            pem,
        }
    }

    pub fn sign(&self, name: &str) -> (String, String) {
        self.sign_with(vec![name.to_owned()], |_| {})
    }

    /// Certificate and key of a server that has all of these names.
    pub fn sign_names(&self, names: Vec<String>) -> (String, String) {
        self.sign_with(names, |_| {})
    }

    /// As [`sign_names`](Self::sign_names), with what else the certificate is to say.
    pub fn sign_with(
        &self,
        names: Vec<String>,
        say: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        say(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub fn file(&self, name: &str, pem: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.to_string_lossy().into_owned()
    }
}
