//! Who gets in, and as whom.

use muster_simulators::limits::WAIT_MAX;

use crate::world::World;

#[test]
fn a_device_that_boots_for_the_first_time_is_enrolled_as_its_chip() {
    let mut world = World::raise();
    world.holds("every device is enrolled, active and of a simulated chip");
    world.holds("every device certificate chains to the device authority");
}

#[test]
fn a_copied_disk_cannot_connect() {
    let mut world = World::raise();
    world.holds("no private key stands in any device's state");
    world.holds("a copied state directory cannot connect without its TPM");
}

#[test]
fn a_chip_that_nobody_claimed_is_refused_with_its_reason() {
    World::raise().holds("an unknown chip without a claim is refused with its reason");
}

#[test]
fn a_claim_is_good_for_one_chip() {
    World::raise().holds("a claim works once");
}

#[test]
fn a_certificate_is_renewed_at_half_its_life_and_the_session_goes_on_with_the_new_one() {
    let mut world = World::raise_with(&[("MUSTER__CERTIFICATES__DEVICE_VALIDITY_S", "60")]);
    let device = &mut world.stage.tenants[0].devices[0];
    let before = std::fs::read(device.edge.state().join("device.crt")).expect("a certificate");
    device.edge.process().wait_event("renewed", WAIT_MAX).expect("renewed within a minute");
    device.edge.wait_connected().expect("connected with the new certificate");
    device.edge.wait_acknowledged().expect("publishes on");
    let after = std::fs::read(device.edge.state().join("device.crt")).expect("a certificate");
    assert_ne!(before, after);
    world.holds("every device certificate chains to the device authority");
}
