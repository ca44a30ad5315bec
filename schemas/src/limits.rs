//! Bounds of everything that crosses a process boundary, unit last.

/// Longest tenant, device, app or user id, in bytes.
pub const ID_BYTES_MAX: usize = 64;
/// Longest MQTT client identifier, in bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 256;
/// Longest trust domain (a DNS name), in bytes.
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// Longest topic name or filter, in bytes.
pub const TOPIC_BYTES_MAX: usize = 4_096;
/// Most levels in a topic name or filter.
pub const TOPIC_LEVELS_MAX: usize = 64;

/// Deepest nesting of a CBOR item that is passed over unread, or of a JSON value likewise.
pub const CBOR_DEPTH_MAX: usize = 8;

/// Longest trust object, in bytes.
pub const TRUST_OBJECT_BYTES_MAX: usize = 128 * 1_024;
/// Most authorities in a trust object: eight generations of five roles.
pub const TRUST_AUTHORITIES_MAX: usize = 40;
/// Most revoked certificates of hubs, relays and authorities in a trust object.
pub const TRUST_REVOKED_MAX: usize = 4_096;
/// Most certificates of who signed a trust object.
pub const TRUST_CHAIN_CERTIFICATES_MAX: usize = 4;
/// Longest signature of a trust object, in bytes. ECDSA on P-256 has at most 72.
pub const TRUST_SIGNATURE_BYTES_MAX: usize = 128;
/// Longest frame of `muster-enroll/1` without its length prefix, in bytes.
pub const ENROLMENT_FRAME_BYTES_MAX: usize = 16 * 1_024;
/// Most keys of a frame.
pub const ENROLMENT_FRAME_KEYS_MAX: usize = 12;
/// Longest certificate in a frame, DER, in bytes. Endorsement certificates have 700 to 1,600.
pub const ENROLMENT_CERTIFICATE_BYTES_MAX: usize = 2_048;
/// Most certificates between a leaf and its root.
pub const ENROLMENT_CHAIN_CERTIFICATES_MAX: usize = 4;
/// Longest `TPMT_PUBLIC`, in bytes. An RSA 4096 key has 570.
pub const ENROLMENT_PUBLIC_BYTES_MAX: usize = 768;
/// Longest signing request, in bytes.
pub const ENROLMENT_CSR_BYTES_MAX: usize = 2_048;
/// Longest claim code, model, agent version or serial number, in bytes.
pub const ENROLMENT_LABEL_BYTES_MAX: usize = 64;
/// Longest credential blob, in bytes.
pub const ENROLMENT_CREDENTIAL_BYTES_MAX: usize = 256;
/// Longest encrypted secret, in bytes. Under an RSA 4096 key it has 512.
pub const ENROLMENT_SECRET_BYTES_MAX: usize = 512;
/// Longest `TPMS_ATTEST`, in bytes.
pub const ENROLMENT_ATTEST_BYTES_MAX: usize = 512;
/// Longest `TPMT_SIGNATURE`, in bytes. By an RSA 2048 key it has 262.
pub const ENROLMENT_SIGNATURE_BYTES_MAX: usize = 512;
/// How many PCRs a bank has.
pub const ENROLMENT_PCRS_MAX: usize = 24;
/// Most events in a log.
pub const ENROLMENT_EVENTS_MAX: usize = 64;
/// Longest kind of an event, in bytes.
pub const ENROLMENT_EVENT_KIND_BYTES_MAX: usize = 32;
/// Longest text of an event, in bytes.
pub const ENROLMENT_EVENT_TEXT_BYTES_MAX: usize = 128;
/// Longest `host:port`, in bytes.
pub const ENROLMENT_ENDPOINT_BYTES_MAX: usize = 262;
/// Most approvals of firmware in one answer.
pub const ENROLMENT_APPROVALS_MAX: usize = 8;
/// Longest approval of firmware, in bytes. With the longest names it has about 260.
pub const ENROLMENT_APPROVAL_BYTES_MAX: usize = 512;
/// Longest detail of a refusal, in bytes.
pub const ENROLMENT_DETAIL_BYTES_MAX: usize = 512;

/// Most that the head of an item takes, where its size is below 64 KiB, in bytes.
const HEAD: usize = 3;
/// Keys and heads of a frame's own map, and its fixed-size fields, in bytes.
const FIXED: usize = 128;

const _: () = assert!(
    (1 + ENROLMENT_CHAIN_CERTIFICATES_MAX) * (HEAD + ENROLMENT_CERTIFICATE_BYTES_MAX)
        + 3 * (HEAD + ENROLMENT_PUBLIC_BYTES_MAX)
        + (HEAD + ENROLMENT_CSR_BYTES_MAX)
        + 4 * (HEAD + ENROLMENT_LABEL_BYTES_MAX)
        + FIXED
        <= ENROLMENT_FRAME_BYTES_MAX,
    "a Begin whose fields are within their bounds fits a frame"
);
const _: () = assert!(
    2 * (3 * HEAD + ENROLMENT_ATTEST_BYTES_MAX + ENROLMENT_SIGNATURE_BYTES_MAX)
        + ENROLMENT_PCRS_MAX * (HEAD + 32)
        + ENROLMENT_EVENTS_MAX
            * (1 + 1 + 34 + 2 + ENROLMENT_EVENT_KIND_BYTES_MAX + 2 + ENROLMENT_EVENT_TEXT_BYTES_MAX)
        + FIXED
        <= ENROLMENT_FRAME_BYTES_MAX,
    "a Finish whose fields are within their bounds fits a frame"
);

/// Longest telemetry payload, in bytes.
pub const SENML_PAYLOAD_BYTES_MAX: usize = 1_024 * 1_024;
/// Most records in a pack.
pub const SENML_RECORDS_MAX: usize = 1_024;
/// Most labels in a record: the fifteen of RFC 8428 and a few of extensions.
pub const SENML_LABELS_MAX: usize = 32;
/// Longest resolved name of a record, in bytes.
pub const SENML_NAME_BYTES_MAX: usize = 256;
/// Longest unit of a record, in bytes. Registered ones have at most 7.
pub const SENML_UNIT_BYTES_MAX: usize = 32;

/// Longest text that says where a peer of an audit entry came from, in bytes.
pub const AUDIT_PEER_BYTES_MAX: usize = 128;
/// Longest topic or filter of an audit entry, in bytes. Of a longer one this much is kept.
pub const AUDIT_SUBJECT_BYTES_MAX: usize = 256;
/// Longest reason of an audit entry, in bytes.
pub const AUDIT_REASON_BYTES_MAX: usize = 512;

/// Longest message of an update, in bytes: an announcement with all that it may hold.
pub const UPDATE_MESSAGE_BYTES_MAX: usize = 192 * 1_024;
/// Most keys of a message of an update.
pub const UPDATE_KEYS_MAX: usize = 16;
/// Longest offer or freshness statement with its signature, in bytes: 8 transfers with 4 addresses each.
pub const UPDATE_SIGNED_BYTES_MAX: usize = 24 * 1_024;
/// Longest SUIT envelope, in bytes. Ours have about 300.
pub const UPDATE_ENVELOPE_BYTES_MAX: usize = 16 * 1_024;
/// Longest root of a tenant with its signatures, in bytes: 16 keys and as many signatures have about 4,000.
pub const UPDATE_ROOT_BYTES_MAX: usize = 8 * 1_024;
/// Most roots in an announcement. A device that is further behind gets the next ones after these.
pub const UPDATE_ROOTS_MAX: usize = 8;
/// Most ways to get an image.
pub const UPDATE_TRANSFERS_MAX: usize = 8;
/// Most addresses of one way.
pub const UPDATE_URIS_MAX: usize = 4;
/// Longest address, in bytes.
pub const UPDATE_URI_BYTES_MAX: usize = 512;
/// Shortest block that a device may ask for, in bytes.
pub const UPDATE_BLOCK_BYTES_MIN: u32 = 256;
/// Longest block that a device may ask for, in bytes.
pub const UPDATE_BLOCK_BYTES_MAX: u32 = 64 * 1_024;
/// Most blocks in a window.
pub const UPDATE_BLOCKS_MAX: u32 = 256;
/// Longest window of blocks, in bytes: what a hub reads and sends for one request.
pub const UPDATE_WINDOW_BYTES_MAX: u32 = 64 * 1_024;
/// Longest bitmap of blocks, in bytes.
pub const UPDATE_BITMAP_BYTES_MAX: usize = 32;
/// Longest detail of a report, in bytes.
pub const UPDATE_DETAIL_BYTES_MAX: usize = 512;
/// Longest version that a device reports, in bytes.
pub const UPDATE_VERSION_BYTES_MAX: usize = 64;

const _: () = assert!(
    2 * UPDATE_SIGNED_BYTES_MAX
        + UPDATE_ENVELOPE_BYTES_MAX
        + UPDATE_ROOTS_MAX * UPDATE_ROOT_BYTES_MAX
        + FIXED
        <= UPDATE_MESSAGE_BYTES_MAX,
    "an announcement whose parts are within their bounds fits a message"
);
const _: () = assert!(
    UPDATE_TRANSFERS_MAX * (64 + UPDATE_URIS_MAX * (HEAD + UPDATE_URI_BYTES_MAX)) + 1_024
        <= UPDATE_SIGNED_BYTES_MAX,
    "an offer whose fields are within their bounds fits what is signed"
);
const _: () = assert!(
    UPDATE_BITMAP_BYTES_MAX * 8 == UPDATE_BLOCKS_MAX as usize
        && UPDATE_BLOCKS_MAX * UPDATE_BLOCK_BYTES_MIN == UPDATE_WINDOW_BYTES_MAX,
    "a window of the shortest blocks has a bit for each"
);
