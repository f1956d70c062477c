use super::*;

fn parse(bytes: &[u8]) -> Result<(Heap, Value), PickleError> {
    let mut budget = 1 << 20;
    let bytes = Bytes::from_vec(bytes.to_vec());
    read(&mut Input::new(&bytes), Dialect::Saved, &mut budget)
}

fn reason(bytes: &[u8]) -> String {
    match parse(bytes) {
        Err(PickleError::Damaged { at, reason }) => format!("{at}: {reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn plain_values_of_each_kind() {
    // pickle.dumps([None, True, -1, 258, 2**40, -0.5, "é", b"\x00", ("a", {1: []})], 4)
    let bytes = b"\x80\x04]\x94(N\x88J\xff\xff\xff\xffM\x02\x01\x8a\x06\x00\x00\x00\x00\x00\x01\
        G\xbf\xe0\x00\x00\x00\x00\x00\x00\x8c\x02\xc3\xa9C\x01\x00\x8c\x01a}\x94K\x01]\x94s\
        \x86\x94e.";
    let (heap, root) = parse(bytes).expect("a pickle");
    let items = heap.items(root).expect("a list");
    assert_eq!(items[..2], [Value::None, Value::Bool(true)]);
    assert_eq!(
        items[2..5],
        [Value::Int(-1), Value::Int(258), Value::Int(1 << 40)]
    );
    assert_eq!(items[5], Value::Float(-0.5));
    assert_eq!(heap.text(items[6]), Some("é"));
    assert!(matches!(heap.node(items[7]), Some(Node::Opaque)));
    let pair = heap.items(items[8]).expect("a tuple");
    assert_eq!(heap.text(pair[0]), Some("a"));
    let Some(Node::Dict(pairs)) = heap.node(pair[1]) else {
        panic!("{heap:?}");
    };
    assert_eq!(pairs[0].0, Value::Int(1));
}

#[test]
fn what_would_run_is_named() {
    for (bytes, asked) in [
        (
            &b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R."[..],
            "posix.system",
        ),
        (b"(X\x02\x00\x00\x00idios\nsystem\n.", "os.system"),
        (
            b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
            "builtins.eval",
        ),
        (b"c__builtin__\ngetattr\n.", "__builtin__.getattr"),
        (b"c__main__\nNet\n)\x81.", "__main__.Net"),
        // Only a script's pickle may have modules.
        (b"c__torch__\nNet\n)\x81.", "__torch__.Net"),
    ] {
        match parse(bytes) {
            Err(PickleError::Asks { name }) => assert_eq!(name, asked),
            other => panic!("{asked}: {other:?}"),
        }
    }
}

#[test]
fn what_makes_no_sense_is_told_with_its_place() {
    assert_eq!(reason(b""), "0: it ends too early");
    assert_eq!(reason(b"]"), "1: it ends too early");
    assert_eq!(reason(b"\x80\x09."), "0: its protocol is 9");
    assert_eq!(reason(b"."), "0: there is nothing on its stack");
    assert_eq!(reason(b"]t."), "1: there is no mark on its stack");
    assert_eq!(reason(b"N(0\x85t."), "4: there is no mark on its stack");
    assert_eq!(reason(b"](a"), "2: there is nothing on its stack");
    assert_eq!(reason(b"(Nd"), "2: a key without a value");
    assert_eq!(reason(b"NNa"), "2: a value is added to what is no list");
    assert_eq!(reason(b"NNNs"), "3: a key is set in what is no dictionary");
    assert_eq!(reason(b"h\x07"), "0: nothing is kept under number 7");
    assert_eq!(reason(b"N)R"), "2: it calls what is no function");
    assert_eq!(reason(b"NQ"), "1: a storage that is not told in a tuple");
    assert_eq!(
        reason(b"X\xff\xff\xff\x7fab"),
        "0: it claims 2147483647 bytes and ends before"
    );
    assert_eq!(reason(b"\xff"), "0: 0xff is no instruction");
    assert_eq!(
        reason(b"I1\n."),
        "0: instruction 0x49, which PyTorch does not write"
    );
}

#[test]
fn a_bomb_of_the_memo_stays_small() {
    // A list of two of a list of two of ...: 2^100 leaves, if they were written out.
    let mut bytes = b"]q\x00".to_vec();
    for level in 0..100 {
        bytes.extend([
            b'0',
            b']',
            b'q',
            level + 1,
            b'(',
            b'h',
            level,
            b'h',
            level,
            b'e',
        ]);
    }
    bytes.push(b'.');
    let (heap, root) = parse(&bytes).expect("it is a pickle");
    assert_eq!(heap.items(root).map(<[_]>::len), Some(2));
    // And one that holds itself.
    let (heap, root) = parse(b"]q\x00h\x00a.").expect("it is a pickle");
    assert_eq!(heap.items(root), Some(&[root][..]));
}

#[test]
fn memory_is_bounded() {
    let many = [b'N'; 1 << 15];
    assert!(matches!(parse(&many), Err(PickleError::Limit)));
    // A dictionary made of one long list over and over.
    let mut bytes = b"\x80\x02ccollections\nOrderedDict\nq\x00](".to_vec();
    for _ in 0..500 {
        bytes.extend(b"NN\x86");
    }
    bytes.extend(b"e\x85q\x01");
    for _ in 0..1000 {
        bytes.extend(b"h\x00h\x01R");
    }
    assert!(matches!(parse(&bytes), Err(PickleError::Limit)));
}
