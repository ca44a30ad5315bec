//! Who gets in, and as whom.

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
