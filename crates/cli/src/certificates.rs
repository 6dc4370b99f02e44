//! Certificates for a broker of one's own: an authority, and what it has signed for the server.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, Error,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// PEM files.
pub(crate) struct Certificates {
    /// The authority, which clients trust.
    pub(crate) ca: String,
    pub(crate) ca_key: String,
    /// The server's chain.
    pub(crate) server: String,
    pub(crate) server_key: String,
}

/// For a server that is reached by these names and addresses, in this year and some more.
pub(crate) fn make(names: &[String], year: i32) -> Result<Certificates, Error> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name = called("AgentMQ local authority");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.not_before = date_time_ymd(year - 1, 1, 1);
    ca.not_after = date_time_ymd(year + 10, 1, 1);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    let mut server = CertificateParams::new(names.to_vec())?;
    server.distinguished_name = called("AgentMQ broker");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.not_before = date_time_ymd(year - 1, 1, 1);
    server.not_after = date_time_ymd(year + 2, 1, 1);
    let key = KeyPair::generate()?;
    let server = server.signed_by(&key, &ca)?;
    Ok(Certificates {
        ca: ca.pem(),
        ca_key: ca.key().serialize_pem(),
        server: server.pem(),
        server_key: key.serialize_pem(),
    })
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}
