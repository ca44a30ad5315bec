//! Power goes after every call that changes something, and every state that the medium may be in is booted and
//! updated again.
#![expect(clippy::print_stdout, reason = "how many media were looked at is worth reading, with --nocapture")]

use std::collections::BTreeSet;

use muster_schemas::firmware::Encoding;

use super::stage::{devices, factory, firmware, folders, held, plan, update};
use crate::{
    floor::NoCounter,
    fs::recorder::{Medium, Recorder},
    limits::TRIES_MAX,
    loader::choose,
    slot::Layout,
    slots::{Plan, Slots},
};

/// What was written down as seen.
const TRIED: &str = "the new image was started";
const COMMITTED: &str = "the hub was told that it is well";

struct Story {
    layout: Layout,
    old: Vec<u8>,
    new: Vec<u8>,
    artifact: Vec<u8>,
    plan: Plan,
    piece: usize,
}

impl Story {
    fn new(layout: Layout, encoding: Encoding) -> Self {
        let (old, new) = (firmware(1, 700), firmware(9, 900));
        let (artifact, piece) = match encoding {
            Encoding::Full => (new.clone(), 200),
            Encoding::Zstd => (zstd::encode_all(new.as_slice(), 3).expect("packs"), 400),
            Encoding::Bsdiff => {
                let mut patch = Vec::new();
                qbsdiff::Bsdiff::new(&old, &new).compare(std::io::Cursor::new(&mut patch)).expect("differs");
                (patch, 400)
            }
            Encoding::ZstdPatch => unreachable!("no story is told with it"),
        };
        let plan = plan(&new, encoding, &artifact, Some(&old));
        Self { layout, old, new, artifact, plan, piece }
    }

    fn factory(&self) -> Recorder {
        factory(&self.layout, &self.old, 1024)
    }

    fn slots(&self, fs: &Recorder) -> Slots<Recorder> {
        Slots::new(fs.clone(), self.layout.clone())
    }

    /// The whole life of an update: it arrives, is started twice, and found well.
    fn tell(&self, fs: &Recorder) -> Result<(), String> {
        let slots = self.slots(fs);
        update(&slots, &self.plan, &self.artifact, self.piece).map_err(|fault| format!("{fault:?}"))?;
        for _ in 0..2 {
            let chosen = choose(&slots).map_err(|error| format!("{error:?}"))?;
            if chosen.image.digest == self.plan.image.digest {
                fs.seen(TRIED);
            }
        }
        slots.commit(&mut NoCounter).map_err(|fault| format!("{fault:?}"))?;
        fs.seen(COMMITTED);
        slots.forget().map_err(|fault| format!("{fault:?}"))
    }

    /// What is wrong with a medium that power left like that; nothing if it holds what was promised.
    fn judge(&self, medium: &Medium, tried: usize, committed: bool) -> Result<(), String> {
        let fs = Recorder::holding(medium.clone());
        let slots = self.slots(&fs);
        let chosen = choose(&slots).map_err(|error| format!("nothing boots: {error:?}"))?;
        let held = held(&fs, &self.layout, chosen.slot, chosen.image.size);
        let is_new = held == self.new;
        if !is_new && held != self.old {
            return Err("what boots is neither the old image nor the new one".to_owned());
        }
        if chosen.instead {
            return Err("the image that should boot is damaged".to_owned());
        }
        if committed && (!is_new || chosen.trial.is_some()) {
            return Err("the new image was reported well, and is on trial or does not boot".to_owned());
        }
        if is_new && let Some(left) = chosen.trial {
            let spent = usize::from(TRIES_MAX - left);
            if spent <= tried {
                return Err(format!("start number {} is counted as number {spent}", tried + 1));
            }
        }
        if is_new {
            slots.commit(&mut NoCounter).map_err(|fault| format!("no commit: {fault:?}"))?;
        } else {
            update(&slots, &self.plan, &self.artifact, self.piece)
                .map_err(|fault| format!("the update does not go on: {}", fault.code()))?;
            let again = choose(&slots).map_err(|error| format!("nothing boots in the end: {error:?}"))?;
            if again.image.digest != self.plan.image.digest || again.trial != Some(TRIES_MAX - 1) {
                return Err("the new image does not boot in the end".to_owned());
            }
        }
        Ok(())
    }

    /// Judges all that power may leave, from that call of a story on: how many media there were, and what was wrong.
    fn judge_all(&self, fs: &Recorder, from: usize) -> (usize, BTreeSet<String>) {
        let (mut media, mut wrong) = (0, BTreeSet::new());
        for calls in from..=fs.calls() {
            let tried = fs.count_seen(TRIED, calls);
            let committed = fs.count_seen(COMMITTED, calls) > 0;
            for medium in fs.after_power_cut(calls) {
                media += 1;
                wrong.extend(self.judge(&medium, tried, committed).err());
            }
        }
        (media, wrong)
    }
}

fn nothing_is_wrong(layout: Layout, encoding: Encoding) {
    let story = Story::new(layout, encoding);
    let fs = story.factory();
    story.tell(&fs).expect("the update is well");
    let (media, wrong) = story.judge_all(&fs, 0);
    println!("{encoding:?}: {} calls, {media} media", fs.calls());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(media > 100, "only {media} media were looked at");
}

#[test]
fn power_may_go_at_any_time_with_slots_in_folders() {
    nothing_is_wrong(folders(), Encoding::Full);
}

#[test]
fn power_may_go_at_any_time_with_slots_on_devices() {
    nothing_is_wrong(devices(), Encoding::Full);
}

#[test]
fn power_may_go_at_any_time_while_an_image_is_unpacked() {
    nothing_is_wrong(folders(), Encoding::Zstd);
    nothing_is_wrong(devices(), Encoding::Zstd);
}

#[test]
fn power_may_go_at_any_time_while_a_patch_is_applied() {
    nothing_is_wrong(folders(), Encoding::Bsdiff);
    nothing_is_wrong(devices(), Encoding::Bsdiff);
}

#[test]
fn power_may_go_after_the_agent_was_killed_and_started_again() {
    for layout in [folders(), devices()] {
        let story = Story::new(layout, Encoding::Full);
        let calls = {
            let fs = story.factory();
            story.tell(&fs).expect("the update is well");
            fs.calls()
        };
        let mut media = 0;
        for dies in 0..calls {
            let fs = story.factory();
            fs.die_after(Some(dies));
            let _ = story.tell(&fs);
            fs.die_after(None);
            let before = fs.calls();
            let slots = story.slots(&fs);
            // The next process finds what the dead one wrote, synced or not.
            let pointer = slots.pointer().expect("there is one");
            if pointer.trial.is_none() && pointer.active == crate::slot::Slot::A {
                update(&slots, &story.plan, &story.artifact, story.piece).expect("it goes on");
            } else {
                slots.commit(&mut NoCounter).expect("it is committed");
            }
            let (judged, wrong) = story.judge_all(&fs, before);
            media += judged;
            assert!(wrong.is_empty(), "killed after {dies} calls: {wrong:#?}");
        }
        println!("{calls} deaths, {media} media");
    }
}

/// Proof that the judge is not blind: each sync left out, one at a time. Those that nobody misses are synced once
/// more before it matters, or cost only what would be asked for again.
#[test]
fn a_sync_that_is_left_out_is_found() {
    let stories = [(folders(), Encoding::Full), (devices(), Encoding::Full), (devices(), Encoding::Zstd)];
    for (layout, encoding) in stories {
        let story = Story::new(layout, encoding);
        let syncs = {
            let fs = story.factory();
            story.tell(&fs).expect("the update is well");
            fs.syncs()
        };
        let (mut found, mut kinds) = (0, BTreeSet::new());
        for number in 0..syncs {
            let fs = story.factory();
            fs.leave_out_sync(number);
            story.tell(&fs).expect("nothing is seen of it while there is power");
            let (_, wrong) = story.judge_all(&fs, 0);
            println!("without sync {number}: {wrong:?}");
            found += usize::from(!wrong.is_empty());
            kinds.extend(wrong);
        }
        println!("{found} of {syncs} syncs are missed");
        let missed = |what: &str| kinds.iter().any(|kind| kind.contains(what));
        if encoding == Encoding::Full {
            assert!(missed("digest-mismatch"), "blocks, synced before the journal says that they are there");
        } else {
            assert!(missed("damaged"), "the image, synced before the pointer says that it is there");
        }
        assert!(missed("is counted as"), "the try that is spent, synced before the image starts");
        assert!(missed("on trial"), "the commit, synced before it is reported");
        assert!(found >= 6, "only {found} of {syncs}: {kinds:?}");
    }
}
