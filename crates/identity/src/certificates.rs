//! Client certificates as a proof. Whoever shook hands has verified the chain and that the client
//! has the key; what is left is what the certificate calls him.

use std::sync::Arc;

use agentmq_codec::ReasonCode;
use serde_json::{Map, Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::x509::AttributeTypeAndValue;

use crate::authenticate::{Acceptance, Credentials, Outcome, Refusal};
use crate::claims::Claims;
use crate::evidence::Evidence;
use crate::principal::Principal;
use crate::proof_chain::Proof;
use crate::tokens::WallClock;

/// Which part of a certificate is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificatePart {
    /// The Common Name of its subject.
    CommonName,
    /// The Organization of its subject.
    Organization,
    /// The Organizational Unit of its subject.
    OrganizationalUnit,
    /// A DNS name of its Subject Alternative Names.
    Dns,
    /// An address of mail of its Subject Alternative Names.
    Email,
    /// A URI of its Subject Alternative Names.
    Uri,
}

/// Lets in who has a client certificate.
#[derive(Debug)]
pub struct Certificates {
    /// What a client is called.
    pub name: CertificatePart,
    /// For each claim the part that has it.
    pub claims: Vec<(&'static str, CertificatePart)>,
    /// By which it ends.
    pub clock: Arc<dyn WallClock>,
}

impl Certificates {
    fn principal(&self, der: &[u8]) -> Result<(Principal, u64), &'static str> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| "the certificate cannot be read")?;
        let Some(name) = part(&certificate, self.name)? else {
            return Err("the certificate does not have the name that this server looks for");
        };
        let mut object = Map::new();
        for (claim, from) in &self.claims {
            let value: Option<Value> = part(&certificate, *from)?.map(|text| json!(text));
            object.extend(value.map(|value| ((*claim).to_owned(), value)));
        }
        let claims = Claims::read(&object).map_err(|_| "a name in the certificate is none")?;
        let ends = certificate.validity().not_after.timestamp();
        let principal = Principal::verified(name, claims).by(Evidence::Certificate);
        Ok((principal, u64::try_from(ends).unwrap_or_default()))
    }
}

impl Proof for Certificates {
    fn judge(&self, credentials: &Credentials<'_>) -> Option<Outcome> {
        let Credentials { password, method, certificate, .. } = *credentials;
        let der = certificate.filter(|_| password.is_none() && method.is_none())?;
        Some(match self.principal(der) {
            Ok((principal, ends)) => {
                let lasts_secs = Some(ends.saturating_sub(self.clock.unix_secs()));
                Outcome::Accepted(Acceptance { lasts_secs, ..principal.into() })
            }
            Err(why) => {
                Outcome::Refused(Refusal { reason: ReasonCode::NotAuthorized, why: why.into() })
            }
        })
    }

    fn remembered(&self, principal: &Principal) -> Option<Principal> {
        (*principal.evidence() == Evidence::Certificate).then(|| principal.clone())
    }
}

/// A part of a certificate; `None`: it does not have it. Of several it is not clear who is meant.
fn part(
    certificate: &X509Certificate<'_>,
    part: CertificatePart,
) -> Result<Option<String>, &'static str> {
    let subject = certificate.subject();
    let texts: Vec<String> = match part {
        CertificatePart::CommonName => subject.iter_common_name().filter_map(text).collect(),
        CertificatePart::Organization => subject.iter_organization().filter_map(text).collect(),
        CertificatePart::OrganizationalUnit => {
            subject.iter_organizational_unit().filter_map(text).collect()
        }
        _ => alternatives(certificate, part),
    };
    match <[String; 1]>::try_from(texts) {
        Ok([text]) => Ok(Some(text)),
        Err(none) if none.is_empty() => Ok(None),
        Err(_) => Err("the certificate has several names where one is looked for"),
    }
}

fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    attribute.as_str().ok().map(str::to_owned)
}

fn alternatives(certificate: &X509Certificate<'_>, part: CertificatePart) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let fits = |name: &GeneralName<'_>| match (part, name) {
        (CertificatePart::Dns, GeneralName::DNSName(text))
        | (CertificatePart::Email, GeneralName::RFC822Name(text))
        | (CertificatePart::Uri, GeneralName::URI(text)) => Some((*text).to_owned()),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(fits).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    #[derive(Debug)]
    struct Then;

    impl WallClock for Then {
        fn unix_secs(&self) -> u64 {
            1_800_000_000
        }
    }

    fn certificate(subject: &[(DnType, &str)], alternatives: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = alternatives;
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").der().to_vec()
    }

    fn judged(name: CertificatePart, der: &[u8]) -> Result<Principal, String> {
        let claims = vec![("agent_id", name), ("org_id", CertificatePart::Organization)];
        let proof = Certificates { name, claims, clock: Arc::new(Then) };
        let credentials = Credentials { certificate: Some(der), ..Credentials::default() };
        match proof.judge(&credentials).expect("is of its kind") {
            Outcome::Accepted(acceptance) => {
                assert_eq!(acceptance.lasts_secs, Some(1_893_456_000 - 1_800_000_000));
                Ok(acceptance.principal)
            }
            Outcome::Refused(refusal) => Err(refusal.why.into_owned()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_client_is_called_what_its_certificate_says() {
        let subject = [(DnType::CommonName, "scout"), (DnType::OrganizationName, "acme")];
        let dns = SanType::DnsName("scout.acme.test".try_into().expect("a name"));
        let uri = SanType::URI("urn:agent:scout".try_into().expect("a name"));
        let der = certificate(&subject, vec![dns, uri]);
        for (part, expected) in [
            (CertificatePart::CommonName, "scout"),
            (CertificatePart::Dns, "scout.acme.test"),
            (CertificatePart::Uri, "urn:agent:scout"),
        ] {
            let principal = judged(part, &der).expect("is let in");
            assert_eq!(principal.name(), Some(expected));
            let claims = principal.claims().expect("are verified");
            assert_eq!(claims.agent_id.as_deref(), Some(expected));
            assert_eq!(claims.org_id.as_deref(), Some("acme"));
        }
    }

    #[test]
    fn one_without_the_name_or_with_several_lets_nobody_in() {
        let nameless = certificate(&[(DnType::OrganizationName, "acme")], Vec::new());
        let error = judged(CertificatePart::CommonName, &nameless).expect_err("has none");
        assert!(error.contains("does not have the name"), "{error}");
        let two = ["a.test", "b.test"]
            .map(|name| SanType::DnsName(name.try_into().expect("a name")))
            .into();
        let several = certificate(&[], two);
        let error = judged(CertificatePart::Dns, &several).expect_err("has two");
        assert!(error.contains("several names"), "{error}");
        assert!(judged(CertificatePart::CommonName, b"no certificate").is_err());
    }
}
