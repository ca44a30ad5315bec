//! What is in the memory of a hub stays there: neither a crash writes it to a file, nor may another process read it.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Output},
};

use muster_simulators::{limits::WAIT_MAX, process::ProcessError};

use crate::{
    keys::{CANARY, Keys},
    people::Place,
};

/// A line of shell that starts what follows in a folder of its own, where the kernel may write as large an image of
/// its memory as anybody allows.
const ALLOWING: &str = "cd \"$FOLDER\" && ulimit -c \"$(ulimit -Hc)\" && exec \"$@\"";

/// Whether a program without precautions leaves an image here when it is killed like that, as the kernel tells its parent.
fn leaves_an_image(folder: &std::path::Path) -> bool {
    let mut plain = Command::new("sh");
    plain.args(["-c", ALLOWING, "sh", "sh", "-c", "kill -ABRT $$"]).env("FOLDER", folder);
    plain.output().is_ok_and(|Output { status, .. }| status.core_dumped())
}

/// The limit on images of a running process: soft and hard.
fn image_limits(process: u32) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).expect("told by the kernel");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).expect("a limit");
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().expect("the soft one"), words.next().expect("the hard one"))
}

/// The bytes of the key that a file has in digits, as `muster key new` writes it.
fn bytes_of(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("text"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("digits")).collect()
}

#[test]
#[expect(clippy::print_stderr, reason = "it says what it cannot show")]
fn what_kills_a_hub_leaves_no_image_of_its_memory_and_no_other_process_reads_it() {
    let mut place = Place::prepare();
    let folder = place.path("crashes");
    let control = place.path("control");
    for folder in [&folder, &control] {
        fs::create_dir(folder).expect("a folder");
    }
    place.hub.set("FOLDER", &folder.display().to_string());
    place.hub.start_by(ALLOWING);
    let mut keys = Keys::open_at(place);
    let own = keys.place.path("own.key").display().to_string();
    keys.run("acme", &["key", "new", &own]).expect_err("it prints no JSON, and writes");
    keys.run("acme", &["key", "bring", "--key", &own]).expect("brought, and in memory alone");
    keys.publishes("acme", 2);

    if !leaves_an_image(&control) {
        eprintln!("nothing leaves an image here, whoever is killed: that the hub leaves none shows little");
    }
    // The runtime takes the first SIGSEGV that nobody's own access has caused for nothing.
    for signal in ["ABRT", "ILL"] {
        let process = keys.place.hub.process().expect("it runs");
        let id = process.id();
        assert_eq!(image_limits(id), ("0".to_owned(), "0".to_owned()));
        let owner = keys.place.does("id -u");
        if owner.trim() == "0" {
            eprintln!("root reads every memory: whether another process of the same user does was not tried");
        } else {
            // Where what is no precaution is readable, the hub is not.
            let read = |id: &str| keys.place.shell(&format!("head -c 1 /proc/{id}/environ")).ended_well;
            assert!(read("$$"), "a process reads itself");
            for file in ["maps", "mem", "environ", "auxv"] {
                let said = keys.place.shell(&format!("dd if=/proc/{id}/{file} of=/dev/null bs=1 count=1"));
                assert!(said.text.contains("Permission denied"), "{file}: {}", said.text);
            }
        }
        keys.place.does(&format!("kill -{signal} {id}"));
        let process = keys.place.hub.process().expect("it ran");
        let how = match process.wait_line("its end", WAIT_MAX, |_| None::<()>) {
            Err(ProcessError::Ended { how, .. }) => how,
            other => panic!("it did not end: {other:?}"),
        };
        // The kernel tells a parent whether it has dumped, wherever its images go.
        assert!(how.contains(&format!("SIG{signal}")) && !how.contains("core dumped"), "{how}");
        let left: Vec<_> = fs::read_dir(&folder).expect("a folder").flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        keys.restart();
    }
    let digits = fs::read_to_string(&own).expect("the tenant's key").trim().to_owned();
    let needles: [&[u8]; 3] = [CANARY.as_bytes(), digits.as_bytes(), &bytes_of(&digits)];
    assert_eq!(keys.holding(&needles), [""; 0], "and nothing else that it has written holds any of it");
}
