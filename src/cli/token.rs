//! `outlive token create`: a token as an identity provider would sign it, for trying things out.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Misuse;
use super::key::span_s;
use crate::auth::issuer;

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Sign a token with the secret of an issuer, and print it
    Create(Box<Create>),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Whose token it is: the participant
    sub: String,
    /// Where the issuer's secret is: a file, or env:NAME
    #[arg(long, value_name = "PLACE")]
    secret: String,
    /// The issuer, as the nodes know it
    #[arg(long)]
    issuer: String,
    /// The audience, as the nodes know it
    #[arg(long)]
    audience: String,
    /// The tenant that it is for [default: the default tenant, or the issuer's]
    #[arg(long)]
    tenant: Option<String>,
    /// A right; once for each
    #[arg(long = "right", value_name = "RIGHT", value_delimiter = ',')]
    rights: Vec<String>,
    /// Sessions that it is for: a name, or the beginning of one and a *; once for each
    #[arg(long = "session", value_name = "PATTERN")]
    sessions: Vec<String>,
    /// Agents whose turns its bearer may take, likewise
    #[arg(long = "agent", value_name = "PATTERN")]
    agents: Vec<String>,
    /// The greatest role that its bearer may take [default: participant]
    #[arg(long)]
    role: Option<String>,
    /// The device of its bearer [default: any]
    #[arg(long)]
    device: Option<String>,
    /// How long it is good, as 90s, 15m or 12h
    #[arg(long, value_name = "SPAN", value_parser = span_s, default_value = "1h")]
    expires: u64,
}

pub(super) fn run(command: Token) -> anyhow::Result<()> {
    let Token::Create(request) = command;
    let secret = crate::config::secret("secret", &request.secret);
    let secret = secret.map_err(|why| Misuse(why.to_string()))?;
    let mut own = Map::new();
    own.insert("rights".into(), json!(request.rights));
    own.insert("sessions".into(), json!(request.sessions));
    own.insert("agents".into(), json!(request.agents));
    let texts = [("tenant", request.tenant), ("role", request.role), ("device", request.device)];
    own.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into()))));
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let claims = json!({
        "iss": request.issuer,
        "aud": request.audience,
        "sub": request.sub,
        "iat": now,
        "exp": now + request.expires,
        "outlive": Value::Object(own),
    });
    issuer::check(&claims).map_err(Misuse)?;
    let token = issuer::sign(secret.as_bytes(), &claims).map_err(Misuse)?;
    writeln!(io::stdout(), "{token}")?;
    Ok(())
}
