//! What a connection string may say.
//!
//! In: a connection string of the operator's or of a tenant's. Out: its parts, or a sentence about what is wrong with it
//! that does not repeat it, since it holds a password.
//!
//! A tenant's string must not reach for what is the operator's: files of this machine, credentials of this machine's cloud,
//! sockets of this machine. Nor may it switch off the check of certificates, on which the guard of addresses rests (see
//! `guard`).

use mongodb::error::ErrorKind;
use mongodb::options::{AuthMechanism, ConnectionString, HostInfo, ServerAddress, Tls};

/// Whether an operator's string can be used.
pub fn check_shared(uri: &str) -> Result<(), String> {
    parse(uri).map(drop)
}

/// Whether a tenant's string can be used.
pub fn check_own(uri: &str) -> Result<(), String> {
    own(uri).map(drop)
}

/// The database a string names behind its hosts.
pub fn default_database(uri: &str) -> Option<String> {
    parse(uri).ok()?.default_database
}

pub fn parse(uri: &str) -> Result<ConnectionString, String> {
    let form = "is not a connection string of MongoDB (mongodb://… or mongodb+srv://…)";
    if !uri.starts_with("mongodb://") && !uri.starts_with("mongodb+srv://") {
        return Err(form.to_owned());
    }
    ConnectionString::parse(uri).map_err(|error| match &*error.kind {
        // With credentials in it, any part of it may be a part of the password that was not encoded.
        _ if uri.contains('@') => {
            format!("{form}; special characters in its user name and password must be percent-encoded")
        }
        ErrorKind::InvalidArgument { message, .. } => format!("{form}: {message}"),
        _ => form.to_owned(),
    })
}

pub fn own(uri: &str) -> Result<ConnectionString, String> {
    let parsed = parse(uri)?;
    let secure = match &parsed.tls {
        Some(Tls::Enabled(tls)) => {
            if tls.ca_file_path.is_some() || tls.cert_key_file_path.is_some() {
                return Err("names a file (tlsCAFile, tlsCertificateKeyFile), which apps cannot bring along".to_owned());
            }
            if tls.allow_invalid_certificates == Some(true) {
                return Err(
                    "switches the check of certificates off (tlsInsecure, tlsAllowInvalidCertificates), which \
                            apps may not"
                        .to_owned(),
                );
            }
            true
        }
        Some(Tls::Disabled) => false,
        // What `mongodb+srv` means unless it is told otherwise.
        None => matches!(parsed.host_info, HostInfo::DnsRecord(_)),
    };
    if let Some(mechanism) = parsed.credential.as_ref().and_then(|credential| credential.mechanism.as_ref()) {
        let by_password = [AuthMechanism::ScramSha1, AuthMechanism::ScramSha256, AuthMechanism::Plain];
        if !by_password.contains(mechanism) {
            return Err(format!("asks for {}; apps log in with a user name and a password", mechanism.as_str()));
        }
    }
    match &parsed.host_info {
        HostInfo::HostIdentifiers(hosts) => {
            if hosts.iter().any(|host| !matches!(host, ServerAddress::Tcp { .. })) {
                return Err("names a socket of this machine".to_owned());
            }
            if !secure && hosts.len() > 1 {
                return Err("names several hosts without TLS; without tls=true it may name one".to_owned());
            }
        }
        HostInfo::DnsRecord(_) if !secure => return Err("uses mongodb+srv without TLS, which apps may not".to_owned()),
        _ => {}
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_string_is_said_without_repeating_it() {
        for (uri, said) in [
            ("", "is not a connection string"),
            ("http://a", "is not a connection string"),
            ("mongodb://", "is not a connection string"),
            ("mongodb://user:p@ss/word@host/", "percent-encoded"),
            ("mongodb://host:port/", "is not a connection string"),
            ("mongodb://host/?maxPoolSize=many", "is not a connection string"),
        ] {
            let error = check_shared(uri).unwrap_err();
            assert!(error.contains(said), "{uri}: {error}");
            assert!(!error.contains("ss/word"), "{error}");
        }
        for uri in ["mongodb://host", "mongodb://u:p%40@a,b,c/db?replicaSet=r&tls=true", "mongodb+srv://c.example.org/"]
        {
            assert_eq!(check_shared(uri), Ok(()), "{uri}");
        }
        assert_eq!(default_database("mongodb://host/portico?retryWrites=false").as_deref(), Some("portico"));
        assert_eq!(default_database("mongodb://host"), None);
    }

    #[test]
    fn a_tenants_string_reaches_for_nothing_of_the_operators() {
        for (uri, said) in [
            ("mongodb://h/?tls=true&tlsCAFile=/etc/passwd", "names a file"),
            ("mongodb://h/?tls=true&tlsCertificateKeyFile=/etc/passwd", "names a file"),
            ("mongodb://h/?tls=true&tlsInsecure=true", "check of certificates"),
            ("mongodb://h/?tls=true&tlsAllowInvalidCertificates=true", "check of certificates"),
            ("mongodb://%2Frun%2Fmongod.sock", "socket of this machine"),
            ("mongodb://a,b/?replicaSet=r", "several hosts without TLS"),
            ("mongodb+srv://c.example.org/?tls=false", "without TLS"),
            ("mongodb://h/?authMechanism=MONGODB-X509&tls=true", "user name and a password"),
            (
                "mongodb://h/?authMechanism=MONGODB-OIDC&authMechanismProperties=ENVIRONMENT:k8s",
                "user name and a password",
            ),
        ] {
            let error = check_own(uri).expect_err(uri);
            assert!(error.contains(said), "{uri}: {error}");
        }
        for uri in [
            "mongodb://h",
            "mongodb://u:p@h:1/db",
            "mongodb://a,b/?replicaSet=r&tls=true",
            "mongodb+srv://c.example.org",
        ] {
            assert_eq!(check_own(uri), Ok(()), "{uri}");
        }
    }
}
