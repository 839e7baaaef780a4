use proptest::prelude::*;

use super::*;

#[test]
fn a_header_is_eight_bytes_with_a_big_endian_length() {
    assert_eq!(header(StreamKind::Stderr, 0x0102), [2, 0, 0, 0, 0, 0, 1, 2]);
}

#[test]
fn an_unknown_stream_is_refused_by_its_byte() {
    let error = Decoder::default().next(&mut &b"HTTP/1.1 200"[..]).unwrap_err();
    assert_eq!(error.to_string(), "unrecognized input header: 72");
}

proptest! {
    #[test]
    fn frames_survive_any_cutting(
        frames in prop::collection::vec((1u8..=2, prop::collection::vec(any::<u8>(), 0..300)), 0..20),
        cuts in prop::collection::vec(1usize..50, 1..50),
    ) {
        let mut wire = Vec::new();
        let (mut out, mut err) = (Vec::<u8>::new(), Vec::<u8>::new());
        for (byte, payload) in &frames {
            let kind = StreamKind::from_byte(*byte).unwrap();
            wire.extend(header(kind, u32::try_from(payload.len()).unwrap()));
            wire.extend(payload);
            if kind == StreamKind::Stdout { &mut out } else { &mut err }.extend(payload);
        }
        let (mut got_out, mut got_err) = (Vec::<u8>::new(), Vec::<u8>::new());
        let mut decoder = Decoder::default();
        let mut rest = wire.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (mut piece, after) = rest.split_at((*cut).min(rest.len()));
            rest = after;
            while let Some((kind, payload)) = decoder.next(&mut piece).unwrap() {
                prop_assert!(!payload.is_empty());
                if kind == StreamKind::Stdout { &mut got_out } else { &mut got_err }.extend(payload);
            }
        }
        prop_assert!(decoder.is_between_frames());
        prop_assert_eq!(got_out, out);
        prop_assert_eq!(got_err, err);
    }
}
