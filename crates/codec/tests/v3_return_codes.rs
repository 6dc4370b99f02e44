//! How reason codes become the return codes of MQTT 3.1 and 3.1.1, whose clients know no others.

use agentmq_codec::{QoS, ReasonCode};

/// 3.1.1 §3.2.2.3: 0 to 5.
#[test]
fn connack() {
    use ReasonCode as R;
    for (reason, code) in [
        (R::Success, 0),
        (R::UnsupportedProtocolVersion, 1),
        (R::ClientIdentifierNotValid, 2),
        (R::ServerUnavailable, 3),
        (R::ServerBusy, 3),
        (R::QuotaExceeded, 3),
        (R::UseAnotherServer, 3),
        (R::BadUserNameOrPassword, 4),
        (R::BadAuthenticationMethod, 4),
        (R::NotAuthorized, 5),
        (R::Banned, 5),
    ] {
        assert_eq!(reason.connack_v3(), code, "{reason}");
    }
    for code in 0..=5 {
        let reason = ReasonCode::from_connack_v3(code).expect("0 to 5 are defined");
        assert_eq!(reason.connack_v3(), code);
    }
    assert!((6..=255).all(|code| ReasonCode::from_connack_v3(code).is_none()));
}

/// No failure ever becomes a success, and only a granted QoS is one.
#[test]
fn every_code_keeps_its_side() {
    for reason in (0..=255).filter_map(ReasonCode::from_u8) {
        assert_eq!(reason.connack_v3() != 0, reason.is_error(), "{reason}");
        assert_eq!(reason.suback_v3() == 0x80, reason.is_error(), "{reason}");
        assert_eq!(ReasonCode::from_u8(reason as u8), Some(reason));
    }
    assert_eq!((0..=255).filter_map(ReasonCode::from_u8).count(), 43, "the rows of §2.4");
}

/// 3.1.1 [MQTT-3.9.3-2]: 0, 1, 2 and 0x80.
#[test]
fn suback() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        assert_eq!(ReasonCode::granted(qos).suback_v3(), qos as u8);
    }
    for reason in [ReasonCode::NotAuthorized, ReasonCode::TopicFilterInvalid] {
        assert_eq!(reason.suback_v3(), 0x80);
    }
}
