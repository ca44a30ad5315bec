use super::*;

fn by(name: &str) -> String {
    name.to_owned()
}

#[test]
fn who_wrote_a_plan_does_not_approve_it() {
    let mut stage = Scene::drafted(everybody(), 10);
    stage.must(Event::Edit { by: by("cid"), plan: Box::new(everybody()) });
    stage.must(Event::Submit { by: by("ann") });
    let hash = stage.campaign.hash();
    for author in ["ann", "cid"] {
        assert_eq!(
            stage.tell(Event::Approve { by: by(author), hash }),
            Err(Refused::OwnPlan { by: by(author) })
        );
    }
    stage.must(Event::Approve { by: by("bob"), hash });
    assert_eq!((stage.state(), stage.campaign.approved_by()), (State::Scheduled, Some("bob")));
    stage.check();
}

#[test]
fn a_tenant_without_a_second_person_still_approves() {
    let created = Created { four_eyes: false, ..created(everybody(), 10) };
    let (mut campaign, _) = Campaign::create(BEGIN_MS, created).expect("a campaign");
    campaign.apply(BEGIN_MS, &Event::Submit { by: by("ann") }).expect("submitted");
    let hash = campaign.hash();
    campaign.apply(BEGIN_MS, &Event::Approve { by: by("ann"), hash }).expect("approved");
}

#[test]
fn an_approval_is_of_one_plan() {
    let mut stage = Scene::drafted(everybody(), 10);
    stage.must(Event::Submit { by: by("ann") });
    let seen = stage.campaign.hash();
    let mut other = everybody();
    other.downloads_max = 1;
    stage.must(Event::Edit { by: by("ann"), plan: Box::new(other) });
    assert_eq!(stage.state(), State::Draft, "an edit asks for a new submission");
    stage.must(Event::Submit { by: by("ann") });
    let found = stage.campaign.hash();
    let approval = stage.tell(Event::Approve { by: by("bob"), hash: seen });
    assert_eq!(approval, Err(Refused::OtherPlan { found, asked: seen }));
    stage.check();
}

#[test]
fn an_edit_takes_an_approval_back_and_the_devices_with_it() {
    let mut stage = Scene::approved(everybody(), &[3]);
    let effects = stage.must(Event::Edit { by: by("ann"), plan: Box::new(everybody()) });
    assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Close { .. })).count(), 3);
    assert_eq!((stage.state(), stage.campaign.approved_by()), (State::Draft, None));
    assert_eq!(stage.campaign.devices(), 0);
    let signed = vec![manifest(2), manifest(3)];
    assert!(matches!(stage.tell(Event::Start { by: by("ann"), signed }), Err(Refused::State { .. })));
    stage.check();
}

#[test]
fn nothing_starts_that_is_not_approved() {
    for submitted in [false, true] {
        let mut stage = Scene::drafted(everybody(), 10);
        if submitted {
            stage.must(Event::Submit { by: by("ann") });
        }
        let signed = vec![manifest(2), manifest(3)];
        assert!(matches!(stage.tell(Event::Start { by: by("bob"), signed }), Err(Refused::State { .. })));
        assert!(matches!(
            stage.tell(Event::Enlist { members: vec![member(0, 0)] }),
            Err(Refused::State { .. })
        ));
    }
}

#[test]
fn a_rejected_plan_can_be_written_again() {
    let mut stage = Scene::drafted(everybody(), 10);
    stage.must(Event::Submit { by: by("ann") });
    stage.must(Event::Reject { by: by("bob"), reason: by("too fast") });
    assert_eq!(stage.state(), State::Rejected);
    let hash = stage.campaign.hash();
    assert!(stage.tell(Event::Approve { by: by("bob"), hash }).is_err());
    stage.must(Event::Edit { by: by("ann"), plan: Box::new(everybody()) });
    assert_eq!(stage.state(), State::Draft);
    stage.check();
}

#[test]
fn nothing_starts_whose_way_back_is_not_signed() {
    let mut stage = Scene::approved(everybody(), &[3]);
    let start = |signed: Vec<Manifest>| Event::Start { by: by("ann"), signed };
    let missing =
        |manifest: Manifest| Err(Refused::NotSigned { digest: manifest.digest, sequence: manifest.sequence });
    assert_eq!(stage.tell(start(vec![manifest(2)])), missing(manifest(3)));
    assert_eq!(stage.tell(start(vec![manifest(3)])), missing(manifest(2)));
    // The same manifest with another number is another.
    let forged = Manifest { sequence: muster_schemas::firmware::Sequence(9), ..manifest(3) };
    assert_eq!(stage.tell(start(vec![manifest(2), forged])), missing(manifest(3)));
    stage.must(start(vec![manifest(3), manifest(2)]));
    stage.check();
}

#[test]
fn nothing_starts_before_its_time_or_without_devices() {
    let mut planned = everybody();
    planned.start_at_ms = Some(BEGIN_MS + 60_000);
    let mut stage = Scene::approved(planned, &[2]);
    let signed = vec![manifest(2), manifest(3)];
    let start = Event::Start { by: by("ann"), signed };
    assert_eq!(stage.tell(start.clone()), Err(Refused::NotYet { at_ms: BEGIN_MS + 60_000 }));
    assert_eq!(stage.wait(60), [Effect::Begin], "the caller is told when it is time");
    assert!(stage.campaign.outstanding().contains(&Effect::Begin), "and told again after a crash");
    assert_eq!(offers(&stage.must(start.clone())), [0, 1]);
    stage.check();
    let mut empty = Scene::approved(everybody(), &[0]);
    assert_eq!(empty.tell(start), Err(Refused::NoDevices));
}

#[test]
fn what_is_approved_after_its_time_begins_at_once() {
    let planned = Plan { start_at_ms: Some(BEGIN_MS + 1_000), ..everybody() };
    let mut stage = Scene::drafted(planned, 10);
    stage.must(Event::Submit { by: by("ann") });
    stage.now_ms += 2_000;
    let hash = stage.campaign.hash();
    let effects = stage.must(Event::Approve { by: by("bob"), hash });
    assert!(effects.contains(&Effect::Begin));
    stage.check();
}

#[test]
fn devices_come_in_ascending_each_once_and_into_waves_that_there_are() {
    let mut stage = Scene::approved(everybody(), &[2]);
    let mut refused = |members: Vec<Member>| stage.tell(Event::Enlist { members }).expect_err("refused");
    assert!(matches!(refused(vec![member(1, 0)]), Refused::Member { .. }), "again");
    assert!(matches!(refused(vec![member(9, 0), member(8, 0)]), Refused::Member { .. }), "descending");
    assert!(matches!(refused(vec![member(9, 1)]), Refused::Member { .. }), "no such wave");
    assert_eq!(refused((10..10_011).map(|n| member(n, 0)).collect()), Refused::TooMany);
    assert_eq!(
        refused((10..1_011).map(|n| member(n, 0)).collect()),
        Refused::TooMany,
        "more than its executions"
    );
    stage.check();
}
