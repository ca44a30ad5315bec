use super::*;

fn rules(lines: &[(&str, Says)]) -> Rules {
    Rules::new(lines.iter().map(|(text, says)| Pattern::parse(text, *says).expect("pattern")).collect())
}

#[test]
fn names_are_classed_by_the_words_of_their_last_segment() {
    use Class::{Credential, Id, Location, Person};
    let table = [
        ("lat", Some(Location)),
        ("urn:dev:mac:0024befffe804ff1:lat", Some(Location)),
        ("gps/position", Some(Location)),
        ("gps_lat", Some(Location)),
        ("gpsLat", Some(Location)),
        ("GPSLongitude", Some(Location)),
        ("lat2", Some(Location)),
        ("alt", Some(Location)),
        ("latency", None),
        ("lat/count", None),
        ("platform", None),
        ("valve-position", None),
        ("salt", None),
        ("belong", None),
        ("serial", Some(Id)),
        ("device-serial", Some(Id)),
        ("serial-number", Some(Id)),
        ("serial-errors", None),
        ("eth0.mac", Some(Id)),
        ("macro", None),
        ("IMEI", Some(Id)),
        ("imsi", Some(Id)),
        ("iccid", Some(Id)),
        ("vin", Some(Id)),
        ("vinegar", None),
        ("public-key", Some(Id)),
        ("password", Some(Credential)),
        ("wifi_password", Some(Credential)),
        ("accessToken", Some(Credential)),
        ("token-count", None),
        ("secret", Some(Credential)),
        ("api-key", Some(Credential)),
        ("key", Some(Credential)),
        ("keyboard", None),
        ("key-count", None),
        ("name", Some(Person)),
        ("file-name", None),
        ("first_name", Some(Person)),
        ("email", Some(Person)),
        ("contact-e-mail", Some(Person)),
        ("phone", Some(Person)),
        ("microphone", None),
        ("driver-id", Some(Person)),
        ("temperature", None),
        ("machine:cpu.load", None),
        ("", None),
        (":::", None),
    ];
    for (name, class) in table {
        assert_eq!(Rules::default().class_of("climate", name, None, None), class, "{name}");
    }
}

#[test]
fn the_units_of_a_place_are_places_under_any_name() {
    assert_eq!(Rules::default().class_of("s", "x", Some("lat"), None), Some(Class::Location));
    assert_eq!(Rules::default().class_of("s", "y", Some("lon"), None), Some(Class::Location));
    assert_eq!(Rules::default().class_of("s", "y", Some("Cel"), None), None);
}

#[test]
fn texts_are_classed_by_their_shape() {
    use Class::{Credential, Id, Location, Person};
    let table = [
        ("ada@example.org", Some(Person)),
        ("call <ada@example.org>, please", Some(Person)),
        ("ada@localhost", None),
        ("5 @ 3.7", None),
        ("+49 30 123456", Some(Person)),
        ("+5", None),
        ("00:1b:44:11:3a:b7", Some(Id)),
        ("00-1B-44-11-3A-B7", Some(Id)),
        ("12:30:45", None),
        ("490154203237518", Some(Id)),
        ("490154203237519", None),
        ("000000000000000", None),
        ("1M8GDM9AXKP042788", Some(Id)),
        ("1M8GDM9A1KP042788", None),
        ("-----BEGIN EC PRIVATE KEY-----\nMHc", Some(Credential)),
        ("-----BEGIN CERTIFICATE-----\nMII", Some(Id)),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln", Some(Credential)),
        ("bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", Some(Credential)),
        ("eyJ.no", None),
        ("$GPGGA,123519,4807.038,N,01131.000,E,1", Some(Location)),
        ("52.5200, 13.4050", Some(Location)),
        ("geo:52.5200,13.4050", Some(Location)),
        ("1.5, 2.5", None),
        ("152.520, 13.405", None),
        ("open", None),
        ("firmware 1.2.3-rc4", None),
        ("", None),
        ("ünïcode", None),
        ("$Gé", None),
    ];
    for (text, class) in table {
        assert_eq!(Rules::default().class_of("log", "message", None, Some(text)), class, "{text}");
    }
}

#[test]
fn a_tenant_adds_and_exempts_and_what_it_adds_stays() {
    let rules = rules(&[
        ("*/mass", Says::Add(Class::Person)),
        ("plant/*", Says::Exempt),
        ("plant/lat", Says::Add(Class::Location)),
    ]);
    let class = |stream, name, text| rules.class_of(stream, name, None, text);
    assert_eq!(class("scale", "mass", None), Some(Class::Person));
    assert_eq!(class("plant", "serial", None), None);
    assert_eq!(class("plant", "note", Some("ada@example.org")), None);
    assert_eq!(class("plant", "lat", None), Some(Class::Location));
    assert_eq!(class("plant", "mass", None), Some(Class::Person));
    assert_eq!(class("truck", "serial", None), Some(Class::Id));
}

#[test]
fn a_column_is_sensitive_as_soon_as_one_of_its_texts_is() {
    let mut column = Column {
        name: "note".to_owned(),
        unit: None,
        values: Values::Texts(vec![None, Some("fine".to_owned())]),
    };
    assert_eq!(Rules::default().class_of_column("log", &column), None);
    column.values = Values::Texts(vec![Some("fine".to_owned()), Some("ada@example.org".to_owned())]);
    assert_eq!(Rules::default().class_of_column("log", &column), Some(Class::Person));
    column.name = "lon".to_owned();
    column.values = Values::Numbers(vec![13.4]);
    assert_eq!(Rules::default().class_of_column("log", &column), Some(Class::Location));
}

#[test]
fn the_words_for_classes_read_back() {
    for class in Class::ALL {
        assert_eq!(Class::parse(class.as_str()), Some(class));
    }
    assert_eq!(Class::parse("Location"), None);
}
