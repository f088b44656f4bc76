//! Nodes that were started without what the others have.

use super::*;

/// Status of a list, with a key or without.
async fn list(node: &TestNode, key: Option<&str>) -> u16 {
    ask(node, key, Method::GET, "/v1/sessions", None).await.0.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_root_key_stays_closed_until_it_is_told_to_open() {
    let node = start().await;
    let made = key(&node, &["read"], json!({ "sessions": ["*"] })).await;
    let node = node.restart().await;
    assert_eq!(list(&node, None).await, 401);
    eventually("it knows the keys", async || list(&node, Some(&made)).await == 200).await;
    assert_eq!(list(&node, Some(ROOT)).await, 401, "it was not given that one");
    let node = node.restart_as(|config| config.insecure = true).await;
    assert_eq!(list(&node, None).await, 200);
    // Without a mark on its disk it learns of the keys from its cluster.
    let node = node.restart().await;
    eventually("it finds the keys", async || list(&node, None).await == 401).await;
    assert_eq!(list(&node, Some(&made)).await, 200);
    let node = node.restart().await;
    assert_eq!(list(&node, None).await, 401);
}

/// Of which root keys the log of the keys tells.
async fn prints(node: &TestNode) -> Vec<String> {
    use outlive::runtime::{Delivery, Freshness, Start};
    let id = session::ids::SessionId::parse("__outlive/keys").unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let (from, fresh) = (Start::Beginning, Freshness::Linearizable);
    let mut prints = Vec::new();
    let reader = node.node.runtime.sessions.attach(&id, from, fresh, deadline).await;
    let Ok(mut reader) = reader else { return prints };
    loop {
        match timeout(PATIENCE, reader.next()).await.unwrap() {
            Delivery::Events(events) => prints.extend(
                events.iter().map(|one| String::from_utf8_lossy(&one.event.payload).into_owned()),
            ),
            Delivery::CaughtUp { .. } => return prints,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_root_key_is_told_from_the_one_before() {
    let other = "other-0123456789abcdef0123456789abcdef";
    let node = start().await;
    eventually("its root key is told", async || prints(&node).await.len() == 1).await;
    let node = node.restart_as(|config| config.root_key = Some(Secret::of(ROOT))).await;
    let node = node.restart_as(|config| config.root_key = Some(Secret::of(other))).await;
    eventually("the other one is told", async || prints(&node).await.len() == 2).await;
    for print in prints(&node).await {
        assert!(print.contains(r#""root":{"salt":"#) && !print.contains("0123456789abcdef0"));
    }
}
