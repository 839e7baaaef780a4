use proptest::prelude::*;

use super::*;

#[test]
fn a_message_has_its_length_and_its_attributes_are_padded() {
    let mut messages = Messages::default();
    messages.add(16, flags::CREATE, &[1, 2, 3, 4], |body| {
        body.text(3, "ab");
        body.nest(18, |nested| nested.put(1, &[9]));
    });
    let expect: Vec<u8> = [
        &40_u32.to_ne_bytes()[..],
        &16_u16.to_ne_bytes(),
        &(0x400_u16 | 1 | 4).to_ne_bytes(),
        &1_u32.to_ne_bytes(),
        &[0; 4],
        &[1, 2, 3, 4],
        &7_u16.to_ne_bytes(),
        &3_u16.to_ne_bytes(),
        b"ab\0\0",
        &12_u16.to_ne_bytes(),
        &(18_u16 | 0x8000).to_ne_bytes(),
        &5_u16.to_ne_bytes(),
        &1_u16.to_ne_bytes(),
        &[9, 0, 0, 0],
    ]
    .concat();
    assert_eq!(messages.bytes(), expect);
}

#[test]
fn what_was_written_is_read_again() {
    let mut messages = Messages::default();
    messages.add_silent(1, 0, &[], |body| body.number(7, 0xdead_beef));
    messages.add_silent(2, 0, &[], |body| body.text(8, "x"));
    let read: Vec<_> = messages_of(messages.bytes())
        .map(|m| (m.kind, m.sequence, attributes(m.content).collect::<Vec<_>>()))
        .collect();
    let number = 0xdead_beef_u32.to_ne_bytes();
    assert_eq!(read, [(1, 1, vec![(7, &number[..])]), (2, 2, vec![(8, &b"x\0"[..])])]);
}

#[test]
fn a_refusal_comes_with_the_kernels_words_and_the_conversation_goes_on() {
    let (_netns, ()) = ferry_sys::netns::create(|_| {
        let mut kernel = Conversation::open(NetlinkFamily::Route).unwrap();
        let nonsense = |to: &mut Messages| {
            to.add(16, flags::CREATE, &[0; 16], |link| {
                link.nest(18, |info| info.text(1, "no-such-kind"));
            });
        };
        let refused = kernel.request(nonsense).unwrap_err();
        assert_eq!(refused.errno, Errno::OPNOTSUPP);
        assert!(refused.to_string().contains("Unknown device type"), "{refused}");
        assert_eq!(crate::link::all(&mut kernel).unwrap().len(), 1);
    })
    .unwrap();
}

proptest! {
    #[test]
    fn no_answer_whatever_its_bytes_is_more_than_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for message in messages_of(&bytes) {
            drop(message.outcome());
            prop_assert!(attributes(message.content).count() <= bytes.len());
        }
        let mut lengths = bytes.clone();
        for chunk in lengths.chunks_mut(16) {
            chunk[0] %= 40;
            for byte in chunk.iter_mut().skip(1).take(3) { *byte = 0; }
        }
        prop_assert!(messages_of(&lengths).count() <= lengths.len());
    }
}
