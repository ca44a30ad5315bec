use super::*;

#[test]
fn a_quality_of_service_is_one_of_three() {
    assert_eq!(qos("2"), Ok(Qos::ExactlyOnce));
    for wrong in ["3", "", "-1", "one"] {
        assert!(qos(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_time_fits_what_mqtt_can_say() {
    assert_eq!(seconds("1h"), Ok(3_600));
    assert!(seconds("50000d").is_err());
    assert!(time("5").is_err());
}
