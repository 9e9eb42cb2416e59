//! How a sender shows that it knows an endpoint's secret: which header the signature is in, and what it is made of.

/// Where a signature is found and how it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureForm {
    /// None: the platform's own header, or the one that incoming webhooks had.
    pub header: Option<String>,
    pub scheme: SignatureScheme,
    /// How old a signature with a time in it may be, seconds.
    pub tolerance_s: u32,
}

/// What is signed, always by HMAC-SHA256, and how that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureScheme {
    /// The body; `sha256=<64 hexadecimal digits>`. The platform's own, and GitHub's.
    Sha256,
    /// The body; the digits alone.
    Hex,
    /// The body; base64. Shopify's.
    Base64,
    /// `<time>.<body>`; `t=<time>,v1=<digits>`, `v1` perhaps several times. Stripe's.
    Stripe,
    /// `v0:<time>:<body>` with the time in `X-Slack-Request-Timestamp`; `v0=<digits>`. Slack's.
    Slack,
}

/// As long as Stripe's and Slack's own libraries bear with, seconds.
pub const TOLERANCE_S: u32 = 300;

impl SignatureScheme {
    pub const ALL: [Self; 5] = [Self::Sha256, Self::Hex, Self::Base64, Self::Stripe, Self::Slack];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Stripe => "stripe",
            Self::Slack => "slack",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == text)
    }

    /// The header its inventors put it in.
    pub fn usual_header(self) -> Option<&'static str> {
        match self {
            Self::Sha256 | Self::Hex | Self::Base64 => None,
            Self::Stripe => Some("Stripe-Signature"),
            Self::Slack => Some("X-Slack-Signature"),
        }
    }
}

impl Default for SignatureForm {
    fn default() -> Self {
        Self { header: None, scheme: SignatureScheme::Sha256, tolerance_s: TOLERANCE_S }
    }
}
