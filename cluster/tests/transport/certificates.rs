//! Authorities and certificates that are renewed, take each other's place, or are taken back.

use super::*;
use std::fs;

/// A node that looks at its files.
fn start_renewing(dir: &Path, id: NodeId) -> Node {
    let tls_files = Some(make_node_cert(dir, "blue", id).unwrap());
    start(QuicConfig { tls_files, ..config(dir, id) })
}

/// Whether a node with the certificate of `dir` is let in by both.
async fn is_let_in(dir: &Path, id: NodeId, nodes: [&Node; 2]) -> bool {
    let guest = start(config(dir, id));
    for node in nodes {
        guest.transport.set_peer(node.transport.local(), node.transport.local_addr().to_string());
    }
    let tried = |guest: &Node| {
        let stats = guest.transport.stats();
        stats.iter().all(|peer| peer.connected || 0 < peer.failed_attempts)
    };
    until("it has tried", || tried(&guest)).await;
    let linked = guest.transport.connected().len() == 2;
    timeout(LONG, guest.transport.shutdown()).await.expect("a shutdown ends");
    linked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_takes_the_place_of_another_while_calls_go_on() {
    let home = tempfile::tempdir().unwrap();
    let (old, new, first) = (home.path().join("a"), home.path().join("b"), home.path().join("c"));
    let (a, b) = (start_renewing(&old, ONE), start_renewing(&old, TWO));
    meet(&a, &b);
    linked(&a, &b).await;
    // A node of the old authority, for later; and one of the new.
    fs::create_dir(&first).unwrap();
    for name in ["ca.pem", "ca.key"] {
        fs::copy(old.join(name), first.join(name)).unwrap();
    }
    let (three, four) = (NodeId(3), NodeId(4));
    for (dir, id) in [(&first, three), (&new, four)] {
        make_node_cert(dir, "blue", id).unwrap();
    }
    let both = [fs::read(old.join("ca.pem")).unwrap(), fs::read(new.join("ca.pem")).unwrap()];
    for dir in [&old, &first] {
        fs::write(dir.join("ca.pem"), both.concat()).unwrap();
    }
    let guests = new.with_extension("guests");
    fs::create_dir(&guests).unwrap();
    for entry in fs::read_dir(&new).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, guests.join(path.file_name().unwrap())).unwrap();
    }
    fs::write(guests.join("ca.pem"), both.concat()).unwrap();
    let calls = async {
        let mut answered = 0_u64;
        loop {
            let call = a.transport.call(TWO, Lane::Forward, numbered(answered), LONG).await;
            match call {
                Ok(_) => answered += 1,
                // Between two links.
                Err(CallError::Unreachable(_) | CallError::Lost(_)) => {}
                Err(error) => panic!("{error}"),
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    let rotation = async {
        while !is_let_in(&guests, four, [&a, &b]).await {}
        assert!(is_let_in(&first, three, [&a, &b]).await, "the old one is trusted, too");
        for id in [ONE, TWO] {
            let files = make_node_cert(&new, "blue", id).unwrap();
            for file in [files.cert, files.key] {
                fs::copy(&file, old.join(file.file_name().unwrap())).unwrap();
            }
        }
        // Whoever trusts the new authority alone is let in, and lets them in.
        while !is_let_in(&new, four, [&a, &b]).await {}
        fs::write(old.join("ca.pem"), &both[1]).unwrap();
        while is_let_in(&first, three, [&a, &b]).await {}
    };
    tokio::select! {
        () = calls => {}
        () = rotation => {}
    }
    linked(&a, &b).await;
    stop([a, b]).await;
}

/// What an authority that took a certificate back writes.
fn revocation(dir: &Path, cert: &Path) -> String {
    let (_, pem) = x509_parser::pem::parse_x509_pem(&fs::read(cert).unwrap()).unwrap();
    let number = pem.parse_x509().unwrap().raw_serial().to_vec();
    let mut authority = rcgen::CertificateParams::default();
    let name = "outlive development authority";
    authority.distinguished_name.push(rcgen::DnType::CommonName, name);
    authority.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
    let key = fs::read_to_string(dir.join("ca.key")).unwrap();
    let issuer = rcgen::Issuer::new(authority, rcgen::KeyPair::from_pem(&key).unwrap());
    let (yesterday, later) = (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2056, 1, 1));
    let list = rcgen::CertificateRevocationListParams {
        this_update: yesterday,
        next_update: later,
        crl_number: 1_u64.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![rcgen::RevokedCertParams {
            serial_number: rcgen::SerialNumber::from(number),
            revocation_time: yesterday,
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    list.signed_by(&issuer).unwrap().pem().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_certificate_was_taken_back_is_cut_and_others_stay() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("tls");
    let three = NodeId(3);
    let (a, b) = (start_renewing(&dir, ONE), start_renewing(&dir, TWO));
    let c = start(config(&dir, three));
    meet(&a, &b);
    for node in [&a, &b] {
        meet(node, &c);
    }
    until("all are linked", || {
        [&a, &b, &c].iter().all(|node| node.transport.connected().len() == 2)
    })
    .await;
    let list = revocation(&dir, &dir.join("blue-node-3.pem"));
    fs::write(dir.join("revoked.pem"), "no list").unwrap();
    fs::write(dir.join("revoked.pem"), &list).unwrap();
    until("it is cut", || a.transport.connected() == [TWO] && b.transport.connected() == [ONE])
        .await;
    assert!(!is_let_in(&dir, three, [&a, &b]).await);
    assert!(c.transport.connected().is_empty());
    fs::remove_file(dir.join("revoked.pem")).unwrap();
    until("it is let in again", || {
        [&a, &b, &c].iter().all(|node| node.transport.connected().len() == 2)
    })
    .await;
    timeout(LONG, c.transport.shutdown()).await.expect("a shutdown ends");
    stop([a, b]).await;
}
