//! The description that a node serves, and what it takes: each body has the members of its schema, and no others.

use std::collections::BTreeSet;

use harness::node::start_single;
use reqwest::Method;
use serde_json::{Value, json};

use super::ask;

/// What a body has only as a frame of a connection: by HTTP the path says it.
const IN_PATH: [&str; 4] = ["type", "session", "turn", "interaction"];

/// The members that a refusal of an unknown one lists.
fn listed(detail: &str) -> Option<BTreeSet<String>> {
    let (_, list) = detail.split_once("unknown field")?.1.split_once("expected")?;
    Some(list.split('`').skip(1).step_by(2).map(str::to_owned).collect())
}

/// The members of a schema, of all its branches.
fn described(all: &Value, schema: &Value, into: &mut BTreeSet<String>) {
    if let Some(of) = schema["$ref"].as_str() {
        let of = all.pointer(of.trim_start_matches('#')).expect("a schema that is there");
        described(all, of, into);
    }
    into.extend(
        schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone()),
    );
    for branches in ["allOf", "anyOf", "oneOf"] {
        for branch in schema[branches].as_array().into_iter().flatten() {
            described(all, branch, into);
        }
    }
}

#[tokio::test]
async fn a_body_has_the_members_of_its_schema_and_no_others() {
    let node = start_single().await;
    let (_, all) = ask(&node, Method::GET, "/v1/openapi.json", Value::Null).await;
    let (mut read, mut unread, mut differ) = (0, Vec::new(), Vec::new());
    for (path, methods) in all["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            if schema.is_null() {
                continue;
            }
            let mut members = BTreeSet::new();
            described(&all, schema, &mut members);
            let place = path.replace(['{', '}'], "");
            let method: Method = method.to_uppercase().parse().expect("a method");
            let (_, refusal) = ask(&node, method, &place, json!({ "no such member": 1 })).await;
            let detail = refusal["detail"].as_str().unwrap_or_default();
            let Some(mut taken) = listed(detail) else {
                unread.push(path.as_str());
                continue;
            };
            read += 1;
            let is_known = |name: &String| members.contains(name);
            taken.retain(|name| is_known(name) || !IN_PATH.contains(&name.as_str()));
            if taken != members {
                differ.push(format!("{path}: takes {taken:?}, described are {members:?}"));
            }
        }
    }
    assert!(differ.is_empty(), "\n{}", differ.join("\n"));
    assert!(unread.is_empty() && 20 < read, "{read} bodies were read; not those of {unread:?}");
}
