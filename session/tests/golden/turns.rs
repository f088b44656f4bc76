//! Bytes of turns: inputs, claims, output, questions, calls, and what people ask for.

use super::*;

fn sender() -> Option<Sender> {
    let participant = ParticipantName::parse("ada").unwrap();
    Some(Sender { participant, device: Some(DeviceName::parse("phone").unwrap()) })
}

fn requests() -> [Command; 4] {
    let turn = TurnId::parse("t").unwrap();
    let agent = AgentName::parse("a").unwrap();
    let content = NewEvent { format: Format::TEXT, payload: Bytes::from_static(b"hi") };
    let input = Input {
        input: turn.clone(),
        agent: agent.clone(),
        content: content.clone(),
        sender: sender(),
        when_busy: Some(WhenBusy::Queue),
        role: Role::Participant,
        attempts: Some(3),
        progress_timeout_ms: None,
        follows: Some(Follows {
            message: Serial(7),
            again: true,
            found: Some(Found { life: Incarnation(1), message: Serial(0), branch: Serial(0) }),
        }),
    };
    let worker = WorkerName::parse("w").unwrap();
    let claim = Claim {
        turn: turn.clone(),
        worker,
        key: 7,
        lease_ms: 1_000,
        progress_timeout_ms: 2_000,
        node: Some(NodeStart { node: 3, boot: 9 }),
    };
    let below = SubTurn {
        turn: TurnId::parse("below").unwrap(),
        agent: AgentName::parse("b").unwrap(),
        content: content.clone(),
        attempts: Some(2),
        progress_timeout_ms: Some(5_000),
    };
    let then = Then::Fail { reason: "no".into() };
    let report = TurnReport {
        turn,
        epoch: TurnEpoch(1),
        output: Some(TurnOutput {
            seq: 0,
            step: Some(StepName::parse("s").unwrap()),
            rewind: true,
            mark: true,
            events: vec![content.clone()],
            internal: true,
            ask: vec![Ask {
                interaction: InteractionId::parse("i").unwrap(),
                kind: KindName::parse("approval").unwrap(),
                question: content,
                deadline_ms: Some(9),
                role: Role::Controller,
            }],
            then,
            withdraw: Vec::new(),
            tools: vec![started()],
            begin: vec![below],
        }),
        consumed: Some(Serial(1)),
        delivered: Some(Serial(1)),
        progress_timeout_ms: Some(3_000),
        phase: Some(Phase::Tool(ToolName::parse("search").unwrap())),
        checkpoint: Some(Bytes::from_static(b"c")),
    };
    let scope = Scope::Agent(agent);
    let cancel = Cancel { scope, by: sender(), reason: "r".into(), role: Role::Supervisor };
    [
        Command::Input(Box::new(input)),
        Command::Claim(Box::new(claim)),
        Command::Report(Box::new(report)),
        Command::Cancel(Box::new(cancel)),
    ]
}

fn started() -> ToolMark {
    let arguments = NewEvent { format: Format::JSON, payload: Bytes::from_static(b"{}") };
    let tool = ToolName::parse("search").unwrap();
    let step = ToolStep::Started { tool, arguments };
    ToolMark { call: CallId::parse("c").unwrap(), step }
}

#[test]
fn calls_keep_their_bytes() {
    let interaction = || InteractionId::parse("i").unwrap();
    let (by, role, epoch) = (sender().unwrap(), Role::Participant, Some(CallEpoch(2)));
    let claim = ClaimCall { interaction: interaction(), by, lease_ms: 9_000, epoch, role };
    check_command(
        &Command::ClaimCall(Box::new(claim)),
        expect!["0117016903616461010570686f6e65fb2823010201"],
    );
    let (by, left) = (sender(), true);
    let release = ReleaseCall { interaction: interaction(), epoch: CallEpoch(2), by, left };
    check_command(
        &Command::ReleaseCall(Box::new(release)),
        expect!["01180169020103616461010570686f6e6501"],
    );
    let result = NewEvent { format: Format::TEXT, payload: Bytes::from_static(b"r") };
    let receipts = ToolResult {
        turn: TurnId::parse("t").unwrap(),
        call: CallId::parse("c").unwrap(),
        key: 1 << 100,
        epoch: TurnEpoch(3),
        result,
        failed: true,
    };
    check_command(
        &Command::ToolResult(Box::new(receipts)),
        expect!["011901740163fe00000000000000000000000010000000030474657874017201"],
    );
}

#[test]
fn turns_keep_their_bytes() {
    let [input, claim, report, cancel] = requests();
    check_command(
        &input,
        expect!["010b0174016104746578740268690103616461010570686f6e6501010101030001070101010000"],
    );
    check_command(&claim, expect!["010c0174017707fbe803fbd007010309"]);
    check_command(
        &report,
        expect![
            "010d017401010001017301010104746578740268690101016908617070726f76616c047465787402686901090202026e6f000101630006736561726368046a736f6e027b7d010562656c6f7701620474657874026869010201fb88130101010101fbb80b010206736561726368010163"
        ],
    );
    check_command(&cancel, expect!["010e0101610103616461010570686f6e65017203"]);
    let mut session = Session::absent(SessionId::parse("s").unwrap());
    let mut events = Vec::new();
    let mut apply = |at, command| {
        session.apply(Millis(at), &command, &mut events).unwrap();
        session.clone()
    };
    apply(1_000, Command::from(Config::default()));
    check_state(
        &apply(2_000, input.clone()),
        expect![
            "0101730101000000000000000000000000fbe803fbd007fbd007fbd0070101fd4992e09d9dadcd8702010100fbd007000000000000010174016101010000fbd00700000300000000fbd00700000000000000000001000000000000010174017401fd10b561603dca09a4000000000000000000000000000000010001010000000101feb3f4b094efcc17051cfbcc50811bfc51000000000000000000"
        ],
    );
    check_state(
        &apply(3_000, claim),
        expect![
            "0101730101000000000000000000000000fbe803fbb80bfbb80bfbb80b0102fd92b1d4b2eb032cd306020100fbd0070202fbb80b000000000000010174016101010100fbd00701000300000001017707010001fbe803fbb80b0000fbb80bfbb80bfbd007fbd00700000001030900000000000000000001000000000000010174017401fd10b561603dca09a4000000000100000000000000000000010001010000000101feb3f4b094efcc17051cfbcc50811bfc51000000000000000000"
        ],
    );
    apply(3_500, report);
    apply(4_000, Command::Cancel(Box::new(Cancel::new(Scope::All, ""))));
    let Command::Input(second) = input else { unreachable!() };
    let second = Input { input: TurnId::parse("u").unwrap(), ..*second };
    apply(5_000, Command::Input(Box::new(second)));
    apply(6_000, cancel);
    let shown: Vec<_> = events
        .iter()
        .map(|event| {
            let fact = event.fact.as_deref().map_or("", |fact| fact.name());
            format!("{fact} {}", hex(&codec::encode(HOLDER_VERSION, event)))
        })
        .collect();
    expect![[r#"
        input.accepted 0101fbd0070474657874026869fd4992e09d9dadcd87000101610100017401740103616461010570686f6e6500000001000100
        turn.started 0102fbb80b046a736f6e046e756c6cfd92b1d4b2eb032cd300010161010201740101
        agent.phase 0103fbac0d046a736f6e046e756c6cfdd6875d6b00da8fd20001016101040174010206736561726368
        step.started 0104fbac0d046a736f6e046e756c6cfd908c38cd10d6d5ab000101610108017401017301
        turn.output 0105fbac0d0474657874026869fd18d46a8d9701f57f000101610103017401010001017301050100010100
        tool.started 0106fbac0d046a736f6e027b7dfd51a0d95ebd186ae0000101610119017401016306736561726368fe2fdec56af26bd87e60fc6f752fec3787
        interaction.requested 0107fbac0d0474657874026869fd12d5f1508c406ccc000101610110016901740108617070726f76616c01fbb50d07050501010002
        input.accepted 0108fbac0d0474657874026869fd2814d90df21fff300001016201000562656c6f770562656c6f7700000707010100010174
        turn.cancelled 0109fbac0d046a736f6e046e756c6cfd78a8619f15bdd1f70001016201150562656c6f7702001e746865207475726e207468617420626567616e206974206973206f766572
        interaction.expired 010afbac0d046a736f6e046e756c6cfd2ba90e3134be061200010161011201690174
        turn.failed 010bfbac0d046a736f6e046e756c6cfd2971ecc71f2d55ba000101610115017401026e6f
        input.accepted 010cfb88130474657874026869fd5929328738042fd7000101610100017501750103616461010570686f6e650008000c000100
        turn.cancelled 010dfb7017046a736f6e046e756c6cfd06cb3e0aebe40f370001016101150175020103616461010570686f6e650172"#]].assert_eq(&shown.join("\n"));
}

/// A question that not everybody may answer, and one that was taken back.
#[test]
fn how_a_question_is_taken_back_keeps_its_bytes() {
    let [input, claim, ..] = requests();
    let interaction = || InteractionId::parse("i").unwrap();
    let (kind, role) = (KindName::parse("approval").unwrap(), Role::Supervisor);
    let question = NewEvent { format: Format::TEXT, payload: Bytes::from_static(b"hi") };
    let ask = Ask { interaction: interaction(), kind, question, deadline_ms: None, role };
    let withdraw = Withdraw { interaction: interaction(), reason: "r".into() };
    let reports = |output| {
        let report = TurnReport::new(TurnId::parse("t").unwrap(), TurnEpoch(1));
        Command::Report(Box::new(TurnReport { output: Some(output), ..report }))
    };
    let asks = reports(TurnOutput { ask: vec![ask], ..TurnOutput::default() });
    let back = reports(TurnOutput { seq: 1, withdraw: vec![withdraw], ..TurnOutput::default() });
    check_command(&back, expect!["010d017401010100000000000000010169017200000000000000"]);
    let mut session = Session::absent(SessionId::parse("s").unwrap());
    let mut events = Vec::new();
    let mut apply = |at, command| {
        session.apply(Millis(at), &command, &mut events).unwrap();
        session.clone()
    };
    apply(1_000, Command::from(Config::default()));
    apply(2_000, input);
    apply(3_000, claim);
    check_state(
        &apply(3_500, asks),
        expect![
            "0101730101000000000000000000000000fbe803fbac0dfbac0dfbac0d0103fda0324415388c4b6608030100fbd0070202fbb80b0306fbac0d000000000000010174016101010100fbd00701000300000001017707010101fbe803fbb80b0000fbac0dfbac0dfbd007fbd00700000001030900000000000000010301000001000001000000000000010174017401fd10b561603dca09a40000000001010169017408617070726f76616c030000030000000000000000000000030001010000030101feb3f4b094efcc17051cfbcc50811bfc51000000000000000000"
        ],
    );
    check_state(
        &apply(4_000, back),
        expect![
            "0101730101000000000000000000000000fbe803fba00ffba00ffba00f0104fd096faf5eae8619740c040100fbd0070202fbb80b0306fbac0d0408fba00f000000000000010174016101010100fbd00701000300000001017707010201fbe803fbb80b0000fba00ffba00ffbd007fbd00700000001030900000000000000010301000001000001000000000000010174017401fd10b561603dca09a40000000001010169017408617070726f76616c03000102030000000000000000000000030001010000030101feb3f4b094efcc17051cfbcc50811bfc51000000000000000000"
        ],
    );
    let shown: Vec<_> = events[2..]
        .iter()
        .map(|event| {
            let fact = event.fact.as_deref().map_or("", |fact| fact.name());
            format!("{fact} {}", hex(&codec::encode(HOLDER_VERSION, event)))
        })
        .collect();
    expect![[r#"
        interaction.requested 0103fbac0d0474657874026869fda0324415388c4b66000101610110016901740108617070726f76616c0003010001010003
        interaction.withdrawn 0104fba00f046a736f6e046e756c6cfd096faf5eae861974000101610116016901740172"#]].assert_eq(&shown.join("\n"));
}

/// A mark, a want of room, and an answer that was cut.
#[test]
fn how_an_answer_is_cut_or_put_off_keeps_its_bytes() {
    let turn = || TurnId::parse("t").unwrap();
    let [input, claim, ..] = requests();
    let emit = |epoch, seq, mark, then| {
        let event = NewEvent { format: Format::TEXT, payload: Bytes::from_static(b"hi") };
        let output = TurnOutput { seq, mark, events: vec![event], then, ..TurnOutput::default() };
        Command::Report(Box::new(TurnReport {
            output: Some(output),
            ..TurnReport::new(turn(), TurnEpoch(epoch))
        }))
    };
    let (marked, cut) = (
        emit(1, 0, true, Then::GoOn),
        emit(2, 0, false, Then::CompleteFor { reason: "length".into() }),
    );
    let lose = Command::Lose(Box::new(Lose {
        turn: turn(),
        epoch: TurnEpoch(1),
        cause: Cause::Throttled,
        wait_ms: 7,
        detail: String::new(),
    }));
    check_command(&marked, expect!["010d01740101000000010104746578740268690000000000000000000000"]);
    check_command(&lose, expect!["010f017401060700"]);
    let gone = Command::Lose(Box::new(Lose {
        turn: turn(),
        epoch: TurnEpoch(1),
        cause: Cause::NodeGone,
        wait_ms: 0,
        detail: "node 3 is gone".into(),
    }));
    check_command(&gone, expect!["010f01740107000e6e6f6465203320697320676f6e65"]);
    check_command(
        &cut,
        expect!["010d0174020100000000010474657874026869000006066c656e6774680000000000000000"],
    );
    let mut session = Session::absent(SessionId::parse("s").unwrap());
    let mut events = Vec::new();
    let mut apply = |at, command| {
        session.apply(Millis(at), &command, &mut events).unwrap();
        session.clone()
    };
    apply(1_000, Command::from(Config::default()));
    apply(2_000, input);
    let Command::Claim(first) = &claim else { unreachable!() };
    let second = Claim { key: first.key + 1, ..(**first).clone() };
    apply(3_000, claim.clone());
    check_state(
        &apply(3_500, marked),
        expect![
            "0101730101000000000000000000000000fbe803fbac0dfbac0dfbac0d0103fdccbfd0656122b92f08030100fbd0070202fbb80b0306fbac0d000000000000010174016101010100fbd00701000300000001017707010101fbe803fbb80b010103fbac0dfbac0dfbd007fbd00700000001030900030302000000010301000000000001000000000000010174017401fd10b561603dca09a4000000000100000000000000000000030001010000030101feb3f4b094efcc17051cfbcc50811bfc51000000000000000000"
        ],
    );
    check_state(
        &apply(3_600, lose),
        expect![
            "0101730101000000000000000000000000fbe803fb100efb100efb100e0104fdb8bbaf077723d0f20c040100fbd0070202fbb80b0306fbac0d0408fb100e000000000000010174016101010100fb170e01000301010000fb170e00030302000101010001030100000000010601000000000000010174017401fd10b561603dca09a4000000000100000000000000000000030001010000030101feb3f4b094efcc17051cfbcc50811bfc51000000000000000000"
        ],
    );
    apply(4_000, Command::Claim(Box::new(second)));
    apply(4_500, cut);
    let last = events.last().unwrap();
    assert_eq!(last.fact.as_deref().map(|fact| fact.name()), Some("turn.completed"));
    check_event(
        last,
        expect!["0107fb9411046a736f6e046e756c6cfd74b72f02cd09dce9000101610115017400066c656e677468"],
    );
}

#[test]
fn what_people_ask_keeps_its_bytes() {
    let turn = TurnId::parse("t").unwrap();
    let content = NewEvent { format: Format::TEXT, payload: Bytes::from_static(b"yes") };
    let interaction = InteractionId::parse("i").unwrap();
    let somebody = || sender().unwrap();
    let (role, note) = (Role::Supervisor, "n".to_owned());
    let to = ControlVerb::Grant { to: somebody(), mode: Mode::Assist };
    let control = |verb| {
        let (by, note) = (somebody(), note.clone());
        Command::Control(Box::new(ControlRequest { verb, by, for_ms: 7, note, role }))
    };
    let cause = Cause::Exited;
    let lose =
        Lose { turn: turn.clone(), epoch: TurnEpoch(1), cause, wait_ms: 0, detail: "d".into() };
    let scope = Scope::Step(turn.clone(), StepName::parse("s").unwrap());
    check_command(&Command::Lose(Box::new(lose)), expect!["010f01740104000164"]);
    let answer = Answer { sender: sender(), role, ..Answer::new(interaction, content) };
    check_command(
        &Command::Answer(Box::new(answer)),
        expect!["011001690474657874037965730103616461010570686f6e65030000"],
    );
    check_command(&control(ControlVerb::Request), expect!["01110003616461010570686f6e6507016e03"]);
    check_command(
        &control(to),
        expect!["01110103616461010570686f6e650103616461010570686f6e6507016e03"],
    );
    check_command(
        &control(ControlVerb::Take { mode: Mode::Manual }),
        expect!["0111020203616461010570686f6e6507016e03"],
    );
    check_command(&control(ControlVerb::Release), expect!["01110303616461010570686f6e6507016e03"]);
    let audience = Audience { watchers: 2, controllers: 1 };
    check_command(&Command::Audience(audience), expect!["01120201"]);
    let pause = Pause { scope: scope.clone(), by: sender(), role };
    check_command(
        &Command::Pause(Box::new(pause)),
        expect!["011303017401730103616461010570686f6e6503"],
    );
    let resume = Resume { scope: Scope::Turn(turn), by: None, role };
    check_command(&Command::Resume(Box::new(resume)), expect!["01140001740003"]);
}
