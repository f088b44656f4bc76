//! Agents that a node runs by itself: `[agents.NAME]` in the file, or `--agent 'NAME=command'`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::endpoints::{endpoint, model};
use super::{BadServeConfig, bad};
use crate::auth::SigningSecret;
use crate::ids::{AgentName, TenantName};
use crate::limits;

/// One agent that this node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    pub name: AgentName,
    /// Whose turns it takes: of these tenants, none of which stands for the default one; each once, and one at least.
    pub tenants: Vec<Option<TenantName>>,
    pub body: BodyConfig,
    /// How many of it run at once; 1 to [`limits::BODIES`].
    pub capacity: usize,
    /// See [`crate::runtime::agent::Register`]; what the worker requests where nothing is given.
    pub lease_ms: Option<u64>,
    pub progress_timeout_ms: Option<u64>,
    pub restart: RestartConfig,
    /// How long it may go on with a turn that was cancelled, in milliseconds.
    pub cancel_grace_ms: u64,
}

/// What an agent is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyConfig {
    /// A command that the node spawns; it exchanges the lines of workers on its stdio.
    Process {
        command: Vec<String>,
        /// See [`crate::runtime::agent::child_process::ProcessAgent`].
        env: BTreeMap<String, String>,
        pass_env: Vec<String>,
    },
    /// An HTTP endpoint that gets a request for each turn, and streams its answer.
    Endpoint {
        url: String,
        protocol: Protocol,
        /// Sent with each request.
        headers: BTreeMap<String, String>,
        /// Each request is signed with each of them; not at all where there are none.
        signing: Vec<SigningSecret>,
        /// Which model is requested, where the protocol names one.
        model: Option<String>,
        /// How many tokens one answer may have, where the protocol wants to know; [`limits::MODEL_TOKENS`] where
        /// nothing is given.
        max_tokens: Option<u64>,
        /// How many tokens of the conversation a request to it has at most; [`limits::MESSAGES_BYTES`] of it where
        /// nothing is given.
        context_tokens: Option<usize>,
        /// How long one answer may take, in milliseconds; as long as it goes on where nothing is given.
        call_ms: Option<u64>,
    },
}

/// The form of an endpoint's requests and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A route for `useChat` of the AI SDK: UI messages in, UI message chunks out.
    AiSdk,
    /// AG-UI: `RunAgentInput` in, events out.
    AgUi,
    /// Chat completions in, chat completion chunks out.
    OpenAi,
    /// The Messages API of Anthropic: messages of blocks in, events of blocks out.
    Anthropic,
}

impl Protocol {
    pub(super) const ALL: [Protocol; 4] =
        [Protocol::AiSdk, Protocol::AgUi, Protocol::OpenAi, Protocol::Anthropic];

    /// A stable name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::AiSdk => "ai-sdk",
            Protocol::AgUi => "ag-ui",
            Protocol::OpenAi => "openai",
            Protocol::Anthropic => "anthropic",
        }
    }
}

/// How often one may fail before it rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartConfig {
    pub intensity: u32,
    pub within_ms: u64,
}

/// The keys as they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GivenAgent {
    kind: Option<String>,
    tenants: Option<Vec<String>>,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    pass_env: Vec<String>,
    pub(super) url: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) signing_secrets: Vec<String>,
    pub(super) model: Option<String>,
    pub(super) max_tokens: Option<u64>,
    pub(super) context_tokens: Option<usize>,
    pub(super) call_ms: Option<u64>,
    capacity: Option<usize>,
    lease_ms: Option<u64>,
    #[serde(alias = "quiet_ms")]
    progress_timeout_ms: Option<u64>,
    restart: GivenRestart,
    cancel_grace_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GivenRestart {
    intensity: Option<u32>,
    within_ms: Option<u64>,
}

/// Puts together the agents of the file and those given as `NAME=command`, which win.
pub(super) fn check(
    file: BTreeMap<String, GivenAgent>,
    lines: &[String],
) -> Result<Vec<AgentConfig>, BadServeConfig> {
    let mut all = file;
    for line in lines {
        let Some((name, command)) = line.split_once('=') else {
            return bad(format!("agent {line:?} is not of the form NAME=command"));
        };
        let command = words(command)
            .ok_or_else(|| BadServeConfig(format!("agent {name}: a quote is not closed")))?;
        all.insert(name.to_owned(), GivenAgent { command, ..GivenAgent::default() });
    }
    all.into_iter().map(|(name, given)| agent(&name, given)).collect()
}

fn agent(name: &str, given: GivenAgent) -> Result<AgentConfig, BadServeConfig> {
    let invalid = |why: String| BadServeConfig(format!("agents.{name}: {why}"));
    let wrong = |why: String| Err(invalid(why));
    let parsed = AgentName::parse(name).map_err(|why| invalid(why.to_string()))?;
    let tenants = tenants(given.tenants.as_deref()).map_err(invalid)?;
    check_kind(&given).map_err(invalid)?;
    let body = match given.kind.as_deref() {
        None | Some("process" | "managed") => {
            if given.command.first().is_none_or(String::is_empty) {
                return wrong("command is needed".into());
            }
            let bad_name = |name: &&String| name.is_empty() || name.contains(['=', '\0']);
            if let Some(name) = given.env.keys().chain(&given.pass_env).find(bad_name) {
                return wrong(format!("{name:?} cannot be the name of a variable"));
            }
            let (env, pass_env) = (given.env.clone(), given.pass_env.clone());
            BodyConfig::Process { command: given.command.clone(), env, pass_env }
        }
        Some("push") => endpoint(&given).map_err(invalid)?,
        Some("model") => model(&given, |name| std::env::var(name).ok()).map_err(invalid)?,
        Some(kind) => {
            return wrong(format!("kind {kind:?} is not known; process, push and model are"));
        }
    };
    check_limits(&given).map_err(invalid)?;
    let capacity = given.capacity.unwrap_or(1);
    let restart = RestartConfig {
        intensity: given.restart.intensity.unwrap_or(limits::RESTARTS),
        within_ms: given.restart.within_ms.unwrap_or(limits::RESTARTS_WITHIN_MS),
    };
    if restart.within_ms == 0 || limits::RESTARTS_MAX < restart.intensity {
        let most = limits::RESTARTS_MAX;
        return wrong(format!("restart is at most {most} within at least 1 ms"));
    }
    let grace = limits::CANCEL_GRACE.as_millis();
    let cancel_grace_ms =
        given.cancel_grace_ms.unwrap_or_else(|| u64::try_from(grace).unwrap_or(u64::MAX));
    let GivenAgent { lease_ms, progress_timeout_ms, .. } = given;
    let name = parsed;
    Ok(AgentConfig {
        name,
        tenants,
        body,
        capacity,
        lease_ms,
        progress_timeout_ms,
        restart,
        cancel_grace_ms,
    })
}

/// Refuses numbers that are out of their ranges.
fn check_limits(given: &GivenAgent) -> Result<(), String> {
    if given.capacity.is_some_and(|many| !(1..=limits::BODIES).contains(&many)) {
        return Err(format!("capacity must be 1 to {}", limits::BODIES));
    }
    let (least, most) = (limits::LEASE_MS_RANGE.start(), limits::LEASE_MS_RANGE.end());
    if given.lease_ms.is_some_and(|ms| !limits::LEASE_MS_RANGE.contains(&ms)) {
        return Err(format!("lease_ms must be {least} to {most}"));
    }
    if given
        .progress_timeout_ms
        .is_some_and(|ms| !(1..=limits::PROGRESS_TIMEOUT_MS_MAX).contains(&ms))
    {
        return Err(format!(
            "progress_timeout_ms must be 1 to {}",
            limits::PROGRESS_TIMEOUT_MS_MAX
        ));
    }
    let tokens = limits::CONTEXT_TOKENS_RANGE;
    if given.context_tokens.is_some_and(|given| !tokens.contains(&given)) {
        return Err(format!("context_tokens must be {} to {}", tokens.start(), tokens.end()));
    }
    if given.call_ms == Some(0) {
        return Err("call_ms must be at least 1".into());
    }
    Ok(())
}

/// Refuses keys of another kind of agent: they would do nothing.
fn check_kind(given: &GivenAgent) -> Result<(), String> {
    let is_process = matches!(given.kind.as_deref(), None | Some("process" | "managed"));
    let of_process = [
        ("command", !given.command.is_empty()),
        ("env", !given.env.is_empty()),
        ("pass_env", !given.pass_env.is_empty()),
    ];
    let of_others = [
        ("url", given.url.is_some()),
        ("protocol", given.protocol.is_some()),
        ("headers", !given.headers.is_empty()),
        ("signing_secrets", !given.signing_secrets.is_empty()),
        ("model", given.model.is_some()),
        ("max_tokens", given.max_tokens.is_some()),
        ("context_tokens", given.context_tokens.is_some()),
        ("call_ms", given.call_ms.is_some()),
    ];
    let others: &[(&str, bool)] = if is_process { &of_others } else { &of_process };
    match others.iter().find(|(_, is_given)| *is_given) {
        Some((key, _)) => Err(format!("{key} is for another kind of agent")),
        None => Ok(()),
    }
}

/// The default tenant where nothing is given; among others it is the empty name.
fn tenants(given: Option<&[String]>) -> Result<Vec<Option<TenantName>>, String> {
    let Some(given) = given else { return Ok(vec![None]) };
    if !(1..=limits::AGENT_TENANTS).contains(&given.len()) {
        return Err(format!("tenants must be 1 to {}", limits::AGENT_TENANTS));
    }
    let tenant = |name: &String| match name.as_str() {
        "" => Ok(None),
        name => TenantName::parse(name).map(Some).map_err(|why| format!("{name:?}: {why}")),
    };
    let mut all = given.iter().map(tenant).collect::<Result<Vec<_>, _>>()?;
    all.sort();
    all.dedup();
    Ok(all)
}

/// The words of a command as a shell would take them apart: quotes and backslashes, and nothing else.
fn words(text: &str) -> Option<Vec<String>> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some('\''), letter) => word.get_or_insert_default().push(letter),
            (_, '\\') => word.get_or_insert_default().push(letters.next()?),
            (Some(_), letter) => word.get_or_insert_default().push(letter),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, letter) if letter.is_whitespace() => all.extend(word.take()),
            (None, letter) => word.get_or_insert_default().push(letter),
        }
    }
    all.extend(word);
    quote.is_none().then_some(all)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn load(file: &str, lines: &[&str]) -> Result<Vec<AgentConfig>, String> {
        let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        let file = toml::from_str(file).map_err(|why| why.message().to_owned())?;
        check(file, &lines).map_err(|why| why.to_string())
    }

    fn command(config: &AgentConfig) -> &[String] {
        match &config.body {
            BodyConfig::Process { command, .. } => command,
            BodyConfig::Endpoint { .. } => panic!("{config:?} has no command"),
        }
    }

    #[test]
    fn a_command_is_taken_apart_as_a_shell_would() {
        let all = load("", &[r#"poet=sh -c "echo 'a b'" c\ d '' "#]).unwrap();
        assert_eq!(command(&all[0]), ["sh", "-c", "echo 'a b'", "c d", ""]);
        assert!(load("", &["poet='a"]).is_err());
        assert!(load("", &["poet"]).is_err());
        assert!(load("", &["poet="]).is_err());
    }

    #[test]
    fn a_line_wins_over_the_file_and_budgets_have_defaults() {
        let file = "[poet]\ncommand = [\"a\"]\n[echo]\ncommand = [\"b\"]\ncapacity = 3\n\
                    restart = { intensity = 9 }\nlease_ms = 2000";
        let all = load(file, &["poet=c"]).unwrap();
        assert_eq!((all[0].name.as_str(), all[0].capacity), ("echo", 3));
        assert_eq!((all[0].restart.intensity, all[0].restart.within_ms), (9, 60_000));
        assert_eq!((all[0].lease_ms, all[0].cancel_grace_ms), (Some(2000), 10_000));
        assert_eq!(command(&all[1]), ["c"]);
    }

    #[test]
    fn an_endpoint_is_one_line_and_a_model_is_what_the_environment_says() {
        let file = "[helper]\nkind = \"push\"\nprotocol = \"ag-ui\"\nurl = \"http://h/a\"";
        let all = load(file, &[]).unwrap();
        let (headers, signing, model) = (BTreeMap::new(), Vec::new(), None);
        let (url, protocol) = ("http://h/a".into(), Protocol::AgUi);
        assert_eq!(
            all[0].body,
            BodyConfig::Endpoint {
                url,
                protocol,
                headers,
                signing,
                model,
                max_tokens: None,
                context_tokens: None,
                call_ms: None,
            }
        );
        let set = |name: &str| match name {
            "OPENAI_BASE_URL" => Some("http://h/v1/".to_owned()),
            "OPENAI_API_KEY" => Some("k".to_owned()),
            "OPENAI_MODEL" => Some("m".to_owned()),
            _ => None,
        };
        let BodyConfig::Endpoint { url, headers, model, .. } =
            super::model(&GivenAgent::default(), set).unwrap()
        else {
            panic!("a model is an endpoint")
        };
        assert_eq!((url.as_str(), model.as_deref()), ("http://h/v1/chat/completions", Some("m")));
        assert_eq!(headers["authorization"], "Bearer k");
        let given = GivenAgent { protocol: Some("anthropic".into()), ..GivenAgent::default() };
        let set = |pairs: &'static [(&str, &str)]| {
            let value = |name: &str| pairs.iter().find(|(known, _)| *known == name);
            let model = super::model(&given, move |name| Some(value(name)?.1.to_owned()));
            match model.unwrap() {
                BodyConfig::Endpoint { url, headers, .. } => {
                    let headers =
                        headers.into_iter().map(|(name, value)| format!("{name}={value}"));
                    format!("{url} {}", headers.collect::<Vec<_>>().join(" "))
                }
                BodyConfig::Process { .. } => panic!("a model is an endpoint"),
            }
        };
        assert_eq!(
            set(&[("ANTHROPIC_MODEL", "m"), ("ANTHROPIC_API_KEY", "k")]),
            "https://api.anthropic.com/v1/messages anthropic-version=2023-06-01 x-api-key=k"
        );
        assert_eq!(
            set(&[("ANTHROPIC_MODEL", "m"), ("ANTHROPIC_AUTH_TOKEN", "t")]),
            "https://api.anthropic.com/v1/messages anthropic-version=2026-10-21 authorization=Bearer t"
        );
        let nothing = super::model(&GivenAgent::default(), |_| None);
        assert_eq!(nothing.unwrap_err(), "model is needed, here or as OPENAI_MODEL");
    }

    #[test]
    fn an_agent_serves_the_default_tenant_unless_it_names_others() {
        let of = |line: &str| {
            let all = load(&format!("[poet]\ncommand = [\"a\"]\n{line}"), &[])?;
            let names =
                all[0].tenants.iter().map(|name| name.as_ref().map_or("", TenantName::as_str));
            Ok::<_, String>(names.map(str::to_owned).collect::<Vec<_>>())
        };
        assert_eq!(of("").unwrap(), [""]);
        assert_eq!(of("tenants = [\"b\", \"a\", \"a\"]").unwrap(), ["a", "b"]);
        assert_eq!(of("tenants = [\"a\", \"\"]").unwrap(), ["", "a"]);
        for line in ["tenants = []", "tenants = [\"*\"]", "tenants = [\"a b\"]"] {
            assert!(of(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_is_not_possible_is_named() {
        let check_bad = |file: &str, expected: Expect| {
            expected.assert_eq(&load(file, &[]).unwrap_err());
        };
        check_bad("[poet]", expect!["agents.poet: command is needed"]);
        check_bad(
            "[poet]\nkind = \"x\"",
            expect![[r#"agents.poet: kind "x" is not known; process, push and model are"#]],
        );
        check_bad(
            "[poet]\ncommand = [\"a\"]\ncapacity = 0",
            expect!["agents.poet: capacity must be 1 to 256"],
        );
        check_bad(
            "[poet]\ncommand = [\"a\"]\nlease_ms = 1",
            expect!["agents.poet: lease_ms must be 1000 to 600000"],
        );
        check_bad(
            "[poet]\nkind = \"push\"",
            expect!["agents.poet: url is needed, and begins with http:// or https://"],
        );
        check_bad(
            "[poet]\nkind = \"push\"\nurl = \"http://h\"",
            expect!["agents.poet: protocol is ai-sdk, ag-ui, openai or anthropic"],
        );
        check_bad(
            "[poet]\ncommand = [\"a\"]\npass_env = [\"A=B\"]",
            expect![[r#"agents.poet: "A=B" cannot be the name of a variable"#]],
        );
        assert!(load("[poet]\ncomand = [\"a\"]", &[]).is_err());
        let push = "[poet]\nkind = \"push\"\nurl = \"http://h\"\nprotocol = \"openai\"\n";
        check_bad(
            &format!("{push}headers = {{ authorization = \"env:NOT_SET_AT_ALL\" }}"),
            expect!["agents.poet: headers.authorization: the environment has no NOT_SET_AT_ALL"],
        );
        check_bad(
            "[poet]\ncommand = [\"a\"]\nurl = \"http://h\"",
            expect!["agents.poet: url is for another kind of agent"],
        );
        check_bad(
            &format!("{push}headers = {{ Host = \"evil\" }}"),
            expect!["agents.poet: headers.Host: requests have one of their own"],
        );
        check_bad(
            &format!("{push}signing_secrets = [\"/no/such/file\"]"),
            expect![
                "agents.poet: signing_secrets: /no/such/file cannot be read: No such file or directory (os error 2)"
            ],
        );
        check_bad(
            &format!("{push}signing_secrets = [\"a\", \"b\", \"c\", \"d\", \"e\"]"),
            expect!["agents.poet: signing_secrets are at most 4"],
        );
    }
}
