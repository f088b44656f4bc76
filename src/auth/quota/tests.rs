//! Whose quotas are used, and by what.

use std::time::Duration;

use session::{Create, Grant};

use super::*;
use crate::ids::Millis;

fn caller(tenant: Option<&str>, name: &str) -> Caller {
    let tenant = tenant.map(|name| TenantName::parse(name).unwrap());
    let grant = Arc::new(Grant { tenant, ..Grant::all() });
    Caller::of(grant, name.into(), None, Millis(0)).unwrap()
}

fn quotas(tenant: QuotaLimits, key: QuotaLimits) -> Quotas {
    let config = QuotaConfig { tenant, key, ..QuotaConfig::default() };
    Quotas::new(config, &Metrics::default())
}

const APPEND: Cost = Cost { appends: 1, bytes: 10, inputs: 0, controls: 0 };
const CANCEL: Cost = Cost { appends: 0, bytes: 0, inputs: 0, controls: 1 };

#[tokio::test(start_paused = true)]
async fn a_refused_request_takes_nothing_and_a_key_over_its_quota_costs_its_tenant_nothing() {
    let most = |appends: u32| QuotaLimits { appends_per_s: Some(appends), ..Default::default() };
    let quotas = quotas(most(3), most(2));
    let (one, two) = (caller(Some("acme"), "key:1"), caller(Some("acme"), "key:2"));
    quotas.take(&one, &APPEND).unwrap();
    quotas.take(&one, &APPEND).unwrap();
    for _ in 0..10 {
        let why = quotas.take(&one, &APPEND).unwrap_err();
        assert_eq!((why.holder, why.quota, why.limit), (Holder::Key, Quota::Appends, 2));
        assert_eq!(why.retry_after, Duration::from_millis(500));
    }
    quotas.take(&two, &APPEND).unwrap();
    let why = quotas.take(&two, &APPEND).unwrap_err();
    assert_eq!((why.holder, why.limit), (Holder::Tenant, 3));
    quotas.take(&caller(Some("other"), "key:3"), &APPEND).unwrap();
    quotas.take(&caller(None, "key:4"), &APPEND).unwrap();
    // Speech over its quota stops no interrupt.
    quotas.take(&one, &CANCEL).unwrap();
    tokio::time::advance(Duration::from_millis(500)).await;
    quotas.take(&one, &APPEND).unwrap();
}

#[tokio::test(start_paused = true)]
async fn where_one_quota_is_used_up_the_others_are_left_as_they_are() {
    let limits =
        QuotaLimits { appends_per_s: Some(2), bytes_per_s: Some(10), ..Default::default() };
    let quotas = quotas(limits, QuotaLimits::default());
    let one = caller(None, "key:1");
    quotas.take(&one, &APPEND).unwrap();
    for _ in 0..10 {
        assert_eq!(quotas.take(&one, &APPEND).unwrap_err().quota, Quota::Bytes);
    }
    quotas.take(&one, &Cost { bytes: 0, ..APPEND }).unwrap();
    assert_eq!(quotas.take(&one, &Cost { bytes: 0, ..APPEND }).unwrap_err().quota, Quota::Appends);
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_its_place_until_it_is_dropped() {
    let most = |streams: u32| QuotaLimits { live_streams: Some(streams), ..Default::default() };
    let quotas = quotas(most(2), most(1));
    let (one, two) = (caller(None, "key:1"), caller(None, "key:2"));
    let place = quotas.place(&one).unwrap();
    assert_eq!(quotas.place(&one).unwrap_err().holder, Holder::Key);
    let other = quotas.place(&two).unwrap();
    assert_eq!(quotas.place(&caller(None, "key:3")).unwrap_err().holder, Holder::Tenant);
    drop(place);
    // Neither refusal kept a place.
    let again = quotas.place(&one).unwrap();
    drop((again, other));
    for _ in 0..10 {
        quotas.place(&two).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn tables_are_bounded_and_keep_those_who_use_them_and_those_with_streams() {
    let table: Table<Box<str>> = Table::new(8);
    let limits = || QuotaLimits { live_streams: Some(1), ..Default::default() };
    let streaming = table.account("streams", limits);
    streaming.open_stream().unwrap();
    let busy = table.account("busy", limits);
    for number in 0..1000 {
        table.account(&*number.to_string(), limits);
        assert!(Arc::ptr_eq(&busy, &table.account("busy", limits)));
        assert!(table.len() <= 8);
    }
    assert!(Arc::ptr_eq(&streaming, &table.account("streams", limits)));
}

#[test]
fn what_brings_something_is_an_append_and_what_ends_something_a_control() {
    use session::ids::{AgentName, TurnId};
    use session::{Cancel, Format, Input, NewEvent, Scope};
    let usage = NewEvent { format: Format::TEXT, payload: b"hello".as_slice().into() };
    let turn = TurnId::parse("t").unwrap();
    let input = Input::new(turn, AgentName::parse("a").unwrap(), usage.clone());
    let create = Create { events: vec![usage.clone(), usage], ..Create::default() };
    for (command, cost) in [
        (Command::from(create), Cost { appends: 1, bytes: 10, ..Cost::default() }),
        (Command::from(Create::default()), Cost { appends: 1, ..Cost::default() }),
        (
            Command::Input(Box::new(input)),
            Cost { appends: 1, bytes: 5, inputs: 1, ..Cost::default() },
        ),
        (
            Command::Cancel(Box::new(Cancel::new(Scope::All, "stop"))),
            Cost { controls: 1, ..Cost::default() },
        ),
        (Command::Touch, Cost { controls: 1, ..Cost::default() }),
    ] {
        assert_eq!(Cost::of(&command), cost, "{command:?}");
    }
}
