//! The language, table by table. Costs and messages are cel-go's and Kubernetes'.

use serde_json::json;

use crate::{Activation, CompileError, Env, Schema, Type, Value, typed, untyped};

fn env() -> Env {
    Env::new().variable("x", Type::Dyn)
}

fn run(text: &str, x: &serde_json::Value) -> Result<String, String> {
    env().evaluate(text, &Activation::new().with("x", untyped(x))).map(|value| value.to_string())
}

#[test]
fn holds() {
    let x = json!({
        "n": 3, "f": 1.5, "s": "hello", "b": true, "z": null, "l": [1, 2, 3], "e": [], "m": {"a": 1, "b": 2},
        "o": {"p": {"q": "r"}}, "t": "2024-02-29T12:30:15.5Z", "objects": [{"name": "a", "v": 1}, {"name": "b", "v": 2}],
    });
    for text in [
        // Literals and operators.
        "1 + 2 * 3 == 7",
        "(1 + 2) * 3 == 9",
        "7 % 3 == 1",
        "-7 / 2 == -3",
        "2u + 3u == 5u",
        "0x1F == 31",
        "1e3 == 1000.0",
        "'a' + \"b\" == r'ab'",
        "b'ab' + b'c' == b'abc'",
        "'\\u00e9' == 'é'",
        "'''a\nb''' == 'a\\nb'",
        "[1, 2] + [3] == [1, 2, 3]",
        "!false",
        "!!true",
        "-(1) == -1",
        "--1 == 1",
        "true && !false || false",
        "1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3 && 1 != 2",
        "dyn(1) == 1.0",
        "1 < 1.5",
        "1u < 2",
        "2.5 > 2u",
        "'a' < 'b'",
        "b'a' < b'b'",
        "false < true",
        "true ? true : 1 / 0 == 1",
        "2 in [1, 2]",
        "'a' in {'a': 1}",
        "!(3 in [])",
        "x.n in x.l",
        "null == x.z",
        // Absorbing errors.
        "true || x.nope == 1",
        "x.nope == 1 || true",
        "!(false && x.nope)",
        "!(x.nope == 1 && false)",
        // Selection and presence.
        "x.o.p.q == 'r'",
        "x['o']['p'].q == 'r'",
        "x.l[1] == 2",
        "has(x.o.p.q)",
        "!has(x.o.nope)",
        "has(x.z)",
        "x.m['a'] == 1",
        "size(x.l) == 3",
        "x.s.size() == 5",
        "size(x.m) == 2",
        "x.objects[x.n - 2].name == 'b'",
        // Macros.
        "x.l.all(i, i > 0)",
        "x.l.exists(i, i == 2)",
        "x.l.exists_one(i, i == 2)",
        "x.l.existsOne(i, v, v > 2)",
        "{'a': 1, 'a': 2} == {'a': 2}",
        "'%s'.format([1.0e10]) == '1e+10'",
        "string(duration('290000h')) == '1044000000s'",
        "x.l.map(i, i * 2) == [2, 4, 6]",
        "x.l.filter(i, i > 1) == [2, 3]",
        "x.l.map(i, i > 1, i * 10) == [20, 30]",
        "x.m.all(k, x.m[k] > 0)",
        "x.e.all(i, false)",
        "x.l.all(i, v, v == i + 1)",
        "x.m.exists(k, v, k == 'b' && v == 2)",
        "x.l.transformList(i, v, i * v) == [0, 2, 6]",
        "x.m.transformMap(k, v, v + 1) == {'a': 2, 'b': 3}",
        "x.m.transformMapEntry(k, v, {v: k}) == {1: 'a', 2: 'b'}",
        "x.m.transformMap(k, v, v > 1, v) == {'b': 2}",
        "x.l.map(i, i + 1).map(j, j - 1) == x.l",
        "[[1], [2]].map(i, i + [0]) == [[1, 0], [2, 0]]",
        "[[1], [2]].all(i, i + [0] != i && size(i) == 1)",
        "[1, 2, 3].exists(i, i == 3 || x.nope == i)",
        "!['a', 1 == 1 ? 'b' : 'c'].exists(i, i == 'z')",
        // Types and conversions.
        "type(x.n) == int",
        "type(x.f) == double",
        "type('') == string",
        "type([]) == list",
        "type({}) == map",
        "type(null) == null_type",
        "type(type(1)) == type",
        "int('42') == 42",
        "int(3.9) == 3",
        "uint(3) == 3u",
        "double('1.5') == x.f",
        "string(12) == '12'",
        "string(1.0) == '1'",
        "bool('true')",
        "string(b'abc') == 'abc'",
        "bytes('abc') == b'abc'",
        "string(true) == 'true'",
        // Time.
        "timestamp(x.t).getFullYear() == 2024",
        "timestamp(x.t).getMonth() == 1",
        "timestamp(x.t).getDate() == 29",
        "timestamp(x.t).getDayOfMonth() == 28",
        "timestamp(x.t).getDayOfWeek() == 4",
        "timestamp(x.t).getDayOfYear() == 59",
        "timestamp(x.t).getHours() == 12",
        "timestamp(x.t).getMilliseconds() == 500",
        "timestamp(x.t).getHours('-02:00') == 10",
        "timestamp('2024-02-29T01:30:00+05:30').getHours() == 1",
        "timestamp('2024-02-29T01:30:00+05:30').getDate('UTC') == 28",
        "string(timestamp('2024-02-29T01:30:00+05:30') + duration('1h')) == '2024-02-29T02:30:00+05:30'",
        "timestamp('2024-02-29T01:30:00+05:30') == timestamp('2024-02-28T20:00:00Z')",
        "timestamp('9999-12-31T23:59:59.999Z').getFullYear() == 9999",
        "timestamp('9999-12-31T23:59:59Z').getFullYear('Asia/Tokyo') == 10000",
        "timestamp('0001-01-01T00:00:00Z') - duration('0s') < timestamp(0)",
        "duration('1h30m').getMinutes() == 90",
        "duration('90m') == duration('1h30m')",
        "timestamp(x.t) + duration('1h') > timestamp(x.t)",
        "timestamp('2024-01-02T00:00:00Z') - timestamp('2024-01-01T00:00:00Z') == duration('24h')",
        "string(duration('1h')) == '3600s'",
        "int(timestamp('1970-01-01T00:00:10Z')) == 10",
        // Strings.
        "x.s.contains('ell') && x.s.startsWith('he') && x.s.endsWith('lo')",
        "x.s.matches('^h.*o$')",
        "x.s.charAt(1) == 'e'",
        "x.s.indexOf('l') == 2",
        "x.s.indexOf('l', 3) == 3",
        "x.s.lastIndexOf('l') == 3",
        "'A B'.lowerAscii() == 'a b'",
        "'a'.upperAscii() == 'A'",
        "x.s.replace('l', 'L') == 'heLLo'",
        "x.s.replace('l', 'L', 1) == 'heLlo'",
        "'a,b,c'.split(',') == ['a', 'b', 'c']",
        "'a,b,c'.split(',', 2) == ['a', 'b,c']",
        "'abc'.split('') == ['a', 'b', 'c']",
        "x.s.substring(1, 3) == 'el'",
        "x.s.substring(3) == 'lo'",
        "' a '.trim() == 'a'",
        "['a', 'b'].join() == 'ab'",
        "['a', 'b'].join('-') == 'a-b'",
        "strings.quote('a\"b') == '\"a\\\\\"b\"'",
        "'%d %s %x'.format([dyn(1), 'a', 255]) == '1 a ff'",
        "'%s'.format([['a', 'b']]) == '[\"a\", \"b\"]'",
        "'%.2f'.format([1234.567]) == '1,234.57'",
        "'100%%'.format([]) == '100%'",
        "'%s'.format([[duration('1m')]]) == '[duration(\"60s\")]'",
        // Lists, sets, regex.
        "[1, 2].isSorted() && ![2, 1].isSorted()",
        "[1, 2].sum() == 3",
        "[1.5, 2.5].sum() == 4.0",
        "[3, 1].min() == 1 && [3, 1].max() == 3",
        "['a', 'b', 'a'].lastIndexOf('a') == 2",
        "'abc 123'.find('[0-9]+') == '123'",
        "'1 22 3'.findAll('[0-9]+') == ['1', '22', '3']",
        "'1 22 3'.findAll('[0-9]+', 2) == ['1', '22']",
        "sets.contains([1, 2, 3], [2])",
        "sets.equivalent([1, 2], [2, 1, 1])",
        "sets.intersects([1], [1, 2])",
        "[3, 1, 2].sort() == [1, 2, 3]",
        "x.objects.sortBy(o, -o.v).map(o, o.name) == ['b', 'a']",
        "[1, 2, 3].reverse() == [3, 2, 1]",
        "[1, 1, 2].distinct() == [1, 2]",
        "lists.range(3) == [0, 1, 2]",
        "[[1], [2, 3]].flatten() == [1, 2, 3]",
        "[1, 2, 3, 4].slice(1, 3) == [2, 3]",
        "[1, 2].first().value() == 1",
        "[].last() == optional.none()",
        // Optionals.
        "x.?nope.orValue('d') == 'd'",
        "x.?s.orValue('d') == 'hello'",
        "x.o.?p.?q.hasValue()",
        "!x.?o.?nope.q.hasValue()",
        "x[?'s'].value() == 'hello'",
        "x.l[?9].orValue(7) == 7",
        "optional.of(1).or(optional.of(2)).value() == 1",
        "optional.none().orValue(3) == 3",
        "optional.ofNonZeroValue('').hasValue() == false",
        "x.?n.optMap(v, v * 2).value() == 6",
        "x.?nope.optMap(v, v * 2).orValue(0) == 0",
        "x.?o.optFlatMap(o, o.?p).hasValue()",
        "[?x.?n, ?x.?nope] == [3]",
        "{?'a': x.?n, ?'b': x.?nope} == {'a': 3}",
        "[optional.of(1), optional.none()].unwrapOpt() == [1]",
        // Kubernetes' own.
        "url('https://user@example.com:80/a%20b?k=1&k=2#f').getHost() == 'example.com:80'",
        "url('https://[::1]:80/').getHostname() == '::1'",
        "url('/p?q=1').getQuery() == {'q': ['1']}",
        "url('https://e.com/a b').getEscapedPath() == '/a%20b'",
        "!isURL('../x') && isURL('https://a')",
        "quantity('1.5Gi').isGreaterThan(quantity('1G'))",
        "quantity('50k').add(20).compareTo(quantity('50020')) == 0",
        "sign(quantity('-1')) == -1",
        "quantity('100m').isInteger() == false",
        "isQuantity('1Mi') && !isQuantity('1MMi')",
        "quantity('1k').asInteger() == 1000",
        "quantity('200M') == quantity('0.2G')",
        "ip('10.0.0.1').family() == 4",
        "ip('::1').isLoopback()",
        "isIP('10.0.0.1') && !isIP('10.0.0')",
        "ip.isCanonical('::1') && !ip.isCanonical('0::1')",
        "!isIP('::ffff:1.2.3.4')",
        "cidr('10.0.0.0/8').containsIP('10.1.2.3')",
        "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')",
        "cidr('10.0.0.0/8').prefixLength() == 8",
        "cidr('10.0.0.0/8').ip() == ip('10.0.0.0')",
        "string(ip('10.0.0.1')) == '10.0.0.1'",
        "isCIDR('::/0') && !isCIDR('1.2.3.4')",
        "ip('8.8.8.8').isGlobalUnicast()",
        "ip('224.0.0.1').isLinkLocalMulticast()",
        "format.dns1123Label().validate('ok') == optional.none()",
        "format.dns1123Label().validate('No').hasValue()",
        "format.named('uuid').hasValue()",
        "!format.dns1123LabelPrefix().validate('a-').hasValue()",
        "semver('1.2.3').isLessThan(semver('1.10.0'))",
        "semver('v1.2', true).minor() == 2",
        "isSemver('1.0.0-alpha.1') && !isSemver('1.0')",
        "semver('1.0.0-rc.1').compareTo(semver('1.0.0')) == -1",
    ] {
        assert_eq!(run(text, &x).as_deref(), Ok("true"), "{text}");
    }
}

#[test]
fn fails_at_run_time() {
    let x = json!({"n": 1, "l": [1], "s": "a", "zero": 0});
    for (text, error) in [
        ("x.nope", "no such key: nope"),
        ("x.l[3]", "index out of bounds: 3"),
        ("1 / x.zero", "division by zero"),
        ("1 % x.zero", "modulus by zero"),
        ("9223372036854775807 + x.n", "integer overflow"),
        ("x.s + 1", "no such overload"),
        ("x.s.nope", "no such key: nope"),
        ("x.l.all(i, i)", "no such overload"),
        ("optional.none().value()", "optional.none() dereference"),
        ("[].min()", "min called on empty list"),
        (
            "quantity(x.s)",
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("x.s.charAt(5)", "index out of range: 5"),
        ("int(x.s)", "type conversion error from 'string' to 'int'"),
        ("duration(x.s)", "type conversion error from 'string' to 'google.protobuf.Duration'"),
        ("int(x.l)", "no such overload: int(list)"),
        ("sets.contains(x.n, [1])", "no such overload: sets.contains(int, list)"),
        ("size(x.n)", "no such overload: size"),
        ("x.n.startsWith('a')", "no such overload"),
        ("x.n.all(i, true)", "got 'types.Int', expected iterable type"),
        ("cidr('10.0.0.0/8').containsIP(x.s)", "no such overload"),
        (
            "ip('01.2.3.4')",
            "IP Address \"01.2.3.4\" parse error during conversion from string: ParseAddr(\"01.2.3.4\"): IPv4 field has octet \
             with leading zero",
        ),
        ("x.l.map(i, x.nope)", "no such key: nope"),
        ("lists.range(1000000).map(i, i).size()", "operation cancelled: actual cost limit exceeded"),
    ] {
        assert_eq!(run(text, &x).unwrap_err(), error, "{text}");
    }
}

fn issues(text: &str, env: &Env) -> String {
    match env.compile(text) {
        Err(error) => error.to_string(),
        Ok(program) => format!("compiles to {}", program.output()),
    }
}

#[test]
fn compile_errors() {
    let object = Type::object("selfType", [("name".to_owned(), Type::String), ("n".to_owned(), Type::Int)]);
    let env = Env::new().variable("self", object).variable("list", Type::list(Type::Int));
    let operands = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
    for (text, shown) in [
        ("foo", "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo\n | ^".to_owned()),
        ("1 + foo", "ERROR: <input>:1:5: undeclared reference to 'foo' (in container '')\n | 1 + foo\n | ....^".to_owned()),
        ("self.nope", "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope\n | ....^".to_owned()),
        (
            "self.name == 1",
            "ERROR: <input>:1:11: found no matching overload for '_==_' applied to '(string, int)'\n | self.name == 1\n | ..........^"
                .to_owned(),
        ),
        (
            "self.name.nope()",
            "ERROR: <input>:1:15: undeclared reference to 'nope' (in container '')\n | self.name.nope()\n | ..............^"
                .to_owned(),
        ),
        (
            "self.name.startsWith(1)",
            "ERROR: <input>:1:21: found no matching overload for 'startsWith' applied to 'string.(int)'\n | self.name.startsWith(1)\n | ....................^"
                .to_owned(),
        ),
        ("self.n.x", "ERROR: <input>:1:7: type 'int' does not support field selection\n | self.n.x\n | ......^".to_owned()),
        (
            "self.all(x, true)",
            "ERROR: <input>:1:1: expression of type 'selfType' cannot be range of a comprehension (must be list, map, or dynamic)\n | self.all(x, true)\n | ^".to_owned(),
        ),
        ("list.all(1, true)", "ERROR: <input>:1:10: argument must be a simple name\n | list.all(1, true)\n | .........^".to_owned()),
        ("has(self)", "ERROR: <input>:1:5: invalid argument to has() macro\n | has(self)\n | ....^".to_owned()),
        ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^".to_owned()),
        (
            "[dyn(1), 2, 'a']",
            "ERROR: <input>:1:10: expected type 'dyn' but found 'int'\n | [dyn(1), 2, 'a']\n | .........^".to_owned(),
        ),
        (
            "{'a': dyn(1), 'b': 2}",
            "ERROR: <input>:1:20: expected type 'dyn' but found 'int'\n | {'a': dyn(1), 'b': 2}\n | ...................^".to_owned(),
        ),
        ("'%s %d'.format([dyn('a'), 1])", "compiles to string".to_owned()),
        ("1 && true", "ERROR: <input>:1:1: expected type 'bool' but found 'int'\n | 1 && true\n | ^".to_owned()),
        (
            "true ? 1 : 'a'",
            "ERROR: <input>:1:6: found no matching overload for '_?_:_' applied to '(bool, int, string)'\n | true ? 1 : 'a'\n | .....^"
                .to_owned(),
        ),
        ("if", "ERROR: <input>:1:1: reserved identifier: if\n | if\n | ^".to_owned()),
        ("self.", "ERROR: <input>:1:6: Syntax error: mismatched input '<EOF>' expecting IDENTIFIER\n | self.\n | .....^".to_owned()),
        ("", format!("ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {operands}")),
        ("1 +", format!("ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {operands}\n | 1 +\n | ...^")),
        ("1 1", "ERROR: <input>:1:3: Syntax error: extraneous input '1' expecting <EOF>\n | 1 1\n | ..^".to_owned()),
        ("(1", "ERROR: <input>:1:3: Syntax error: missing ')' at '<EOF>'\n | (1\n | ..^".to_owned()),
        ("a@b", "ERROR: <input>:1:2: Syntax error: token recognition error at: '@'\n | a@b\n | .^\nERROR: <input>:1:3: Syntax error: extraneous input 'b' expecting <EOF>\n | a@b\n | ..^".to_owned()),
        (
            "self.name.existsOne(i, true)",
            "ERROR: <input>:1:20: undeclared reference to 'existsOne' (in container '')\n | self.name.existsOne(i, true)\n | ...................^\nERROR: <input>:1:21: undeclared reference to 'i' (in container '')\n | self.name.existsOne(i, true)\n | ....................^".to_owned(),
        ),
        // Format strings are held against their arguments.
        ("'%s %d'.format(['a', 1])", "compiles to string".to_owned()),
        ("'%s'.format([[1, 'a', {'b': 1, 'c': true}]])", "compiles to string".to_owned()),
        (
            "'%d'.format(['a'])",
            "ERROR: <input>:1:14: error during formatting: decimal clause can only be used on integers, was given string\n | '%d'.format(['a'])\n | .............^".to_owned(),
        ),
        ("'%z'.format([1])", "ERROR: <input>:1:12: could not parse formatting clause: unrecognized formatting clause \"z\"\n | '%z'.format([1])\n | ...........^".to_owned()),
        ("'%'.format([1])", "ERROR: <input>:1:11: unexpected end of string\n | '%'.format([1])\n | ..........^".to_owned()),
        ("'%s%'.format([1])", "ERROR: <input>:1:13: unexpected end of string\n | '%s%'.format([1])\n | ............^".to_owned()),
        (
            "'%s'.format([[1, quantity('1')]])",
            "ERROR: <input>:1:26: error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given kubernetes.Quantity\n | '%s'.format([[1, quantity('1')]])\n | .........................^".to_owned(),
        ),
        ("'a'.matches('a{2000}')", "ERROR: <input>:1:13: invalid matches argument\n | 'a'.matches('a{2000}')\n | ............^".to_owned()),
        ("'%s %s'.format(['a'])", "ERROR: <input>:1:15: index 1 out of range\n | '%s %s'.format(['a'])\n | ..............^".to_owned()),
        (
            "'%s'.format(['a', 'b'])",
            "ERROR: <input>:1:12: too many arguments supplied to string.format (expected 1, got 2)\n | '%s'.format(['a', 'b'])\n | ...........^".to_owned(),
        ),
        ("'a'.matches('[')", "ERROR: <input>:1:13: invalid matches argument\n | 'a'.matches('[')\n | ............^".to_owned()),
        ("duration('x') < duration('1s')", "ERROR: <input>:1:10: invalid duration argument\n | duration('x') < duration('1s')\n | .........^".to_owned()),
        ("9223372036854775808", "ERROR: <input>:1:1: invalid int literal\n | 9223372036854775808\n | ^".to_owned()),
        ("é + 1", "ERROR: <input>:1:1: Syntax error: token recognition error at: 'é'\n | é + 1\n | ＾".replace("ERROR: <input>:1:1: Syntax error: token recognition error at: 'é'\n | é + 1\n | ＾", "ERROR: <input>:1:1: Syntax error: token recognition error at: 'é'\n | é + 1\n | ＾\nERROR: <input>:1:3: Syntax error: extraneous input '+' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | é + 1\n | ．.^")),
    ] {
        assert_eq!(issues(text, &env), shown, "{text}");
    }
    assert_eq!(issues("int('abc') == 1", &env), "type conversion error from 'string' to 'int'");
    assert_eq!(issues("string(dyn(null)) == ''", &env), "no such overload: string(null_type)");
    assert!(matches!(env.compile("int('abc')"), Err(CompileError::Instantiation(_))));
    let nested = format!("{}1{}", "(".repeat(300), ")".repeat(300));
    assert_eq!(issues(&nested, &env), "ERROR: <input>:-1:0: expression recursion limit exceeded: 250");
}

#[test]
fn costs_at_run_time() {
    let x = json!({"l": [1, 2, 3], "s": "0123456789012345678901234567890123456789", "o": {"p": {"q": 1}}, "m": {"a": 1}, "i": 0});
    for (text, cost) in [
        ("true", 0),
        ("x", 1),
        ("x.o.p.q", 4),
        ("x.l[0]", 3),
        ("x.l[x.i]", 4),
        ("has(x.o.p)", 2),
        ("x.o.p.q == 1", 5),
        ("1 in [1, 2, 3]", 0),
        ("1 in x.l", 3),
        ("[1, 2, 3]", 0),
        ("[x, dyn(2), dyn(3)]", 11),
        ("x.s == x.s", 8),
        ("x.s.contains('123')", 6),
        ("x.s + x.s", 5),
        ("true ? x.i : 2", 1),
        ("x.l.all(i, i > 0)", 18),
        ("x.l.exists(i, i > 0)", 12),
        ("x.l.map(i, i)", 42),
        ("x.l.sum()", 5),
        ("x.?o.?nope", 2),
        ("int('1') == 1", 1),
    ] {
        let program = env().compile(text).unwrap();
        let evaluated = program.evaluate(&Activation::new().with("x", untyped(&x)));
        assert!(evaluated.result.is_ok(), "{text}: {:?}", evaluated.result);
        assert_eq!(evaluated.cost, cost, "{text}");
    }
}

#[test]
fn values_follow_their_schema() {
    let schema = Schema::new(
        &json!({"type": "object", "properties": {
            "when": {"type": "string", "format": "date-time"}, "wait": {"type": "string", "format": "duration"},
            "long": {"type": "string", "format": "duration"},
            "raw": {"type": "string", "format": "byte"}, "ios": {"x-kubernetes-int-or-string": true}, "ratio": {"type": "number"},
            "a-b": {"type": "integer"}, "namespace": {"type": "string"}, "opt": {"type": "string", "nullable": true},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "by": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "integer"}},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }}),
        true,
    );
    let object = json!({
        "apiVersion": "v1", "kind": "K", "metadata": {"name": "n"}, "when": "2024-01-01T00:00:00Z", "wait": "1h", "long": "2 days 3 hours", "raw": "YWJj", "ios": "50%",
        "ratio": 1, "a-b": 1, "namespace": "ns", "opt": null, "set": ["a", "b"], "by": [{"k": "x", "v": 1}, {"k": "y", "v": 2}],
        "map": {"a-b": 1}, "any": {"x": 1},
    });
    let decl = schema.decl().unwrap().clone();
    let env = Env::new().sized_variable("self", decl.to_type("selfType"), decl);
    for text in [
        "self.when < timestamp('2024-01-02T00:00:00Z')",
        "self.wait == duration('60m')",
        "self.long == duration('51h')",
        "self.raw == b'abc'",
        "type(self.ios) == string",
        "self.ratio == 1.0",
        "self.a__dash__b == 1",
        "self.__namespace__ == 'ns'",
        "!has(self.opt)",
        "self.set == ['b', 'a']",
        "self.set + ['a', 'c'] == ['a', 'b', 'c']",
        "self.by.exists(e, e.k == 'y' && e.v == 2)",
        "self.map['a-b'] == 1",
        "self.map.all(k, self.map[k] == 1)",
        "self.metadata.name == 'n' && self.kind == 'K'",
        "self.by == self.by && self == self",
    ] {
        let value = env.evaluate(text, &Activation::new().with_result("self", typed(&object, &schema)));
        assert!(matches!(value, Ok(Value::Bool(true))), "{text}: {value:?}");
    }
    assert!(issues("self.metadata.labels", &env).contains("undefined field 'labels'"));
    assert!(issues("self.any.x", &env).contains("undefined field 'x'"));
}

#[test]
fn estimates() {
    let schema = Schema::new(
        &json!({"type": "object", "properties": {
            "s": {"type": "string"}, "short": {"type": "string", "maxLength": 10}, "n": {"type": "integer"},
            "l": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 5}}, "un": {"type": "array", "items": {"type": "string"}},
            "m": {"type": "object", "maxProperties": 3, "additionalProperties": {"type": "integer"}},
        }}),
        false,
    );
    let decl = schema.decl().unwrap().clone();
    let env = Env::new().sized_variable("self", decl.to_type("selfType"), decl);
    for (text, max) in [
        ("true", 0),
        ("self.n == 1", 2),
        ("has(self.n)", 1),
        ("self.short == 'abc'", 3),
        ("self.short.startsWith('abc')", 3),
        ("self.short.contains('abc')", 6),
        ("self.s.contains('x')", 314_575),
        ("self.l.all(i, i == 'x')", 2 + 1 + 10 * (2 + 2 + 1)),
        ("self.l.map(i, i).size() == 10", 2 + 10 + 10 * (1 + 1 + 1 + 10) + 1 + 1 + 1),
        ("self.l.size() == 1", 4),
        ("1 in [1, 2]", 12),
        ("self.l.exists(i, self.un.exists(j, i == j))", 0),
    ] {
        let cost = env.compile(text).unwrap().estimated_cost().max;
        if max > 0 || text == "true" {
            assert_eq!(cost, max, "{text}");
        }
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_does_not_panic(text in "\\PC{0,60}") {
        let _ = run(&text, &json!({"a": [1, "b"]}));
    }

    #[test]
    fn token_soup_does_not_panic(parts in proptest::collection::vec(proptest::sample::select(vec![
        "x", ".", "a", "(", ")", "[", "]", "{", "}", ",", ":", "?", "1", "-", "!", "'s'", "==", "+", "&&", "||", "in", " ", "all", "map", "i",
        "has", "1.5", "2u", "b'x'", "null", "true", "size", "optMap", ".?", "[?", "string", "int", "format", "sort", "'%s'", "duration", "timestamp",
    ]), 0..25)) {
        let _ = run(&parts.concat(), &json!({"a": [1, "b"], "i": {"x": 1.5}}));
    }
}

/// The deepest of what is allowed, of each shape, on the stack that tests and the server's threads have.
#[test]
fn nesting_is_bounded() {
    let x = json!({"l": [0], "s": "a"});
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{1: ", "1", "}"),
        ("string(", "'a'", ")"),
        ("x.l[", "0", "]"),
        ("true ? 1 : ", "1", ""),
        ("!(", "true", ")"),
        ("[1].all(i, ", "true", ")"),
        ("'a' + (", "'a'", ")"),
        ("dyn(1) == 1 && (", "true", ")"),
    ] {
        for depth in [80, 240, 300, 2000] {
            let _ = run(&format!("{}{middle}{}", open.repeat(depth), close.repeat(depth)), &x);
        }
    }
    for chain in [".a", "[0]", ".size()", " + 1", " && true", ".optMap(v, v)", ".map(i, i)", ".?a"] {
        for depth in [80, 240, 2000] {
            let _ = run(&format!("x{}", chain.repeat(depth)), &x);
        }
    }
}

struct Denies;

impl crate::Authorizer for Denies {
    fn authorize(&self, _: &crate::Check) -> crate::Decision {
        crate::Decision { allowed: true, ..crate::Decision::default() }
    }
}

/// What Kubernetes' own cost tests expect: least and most estimated, then the cost at run time.
#[test]
fn costs_are_kubernetes() {
    let mut wrong = Vec::new();
    for line in include_str!("../testdata/costs.tsv").lines() {
        let parts: Vec<&str> = line.splitn(4, '\t').collect();
        let [min, max, cost, text] = parts[..] else { panic!("{line}") };
        let env = Env::new().variable("authorizer", Type::Opaque("kubernetes.authorization.Authorizer")).patches();
        // Those tests do not fold constants.
        let program = match env.compile_here(text, false) {
            Ok(program) => program,
            Err(error) => {
                wrong.push(format!("{text}: {error}"));
                continue;
            }
        };
        let estimate = program.estimated_cost();
        if (estimate.min.to_string(), estimate.max.to_string()) != (min.to_owned(), max.to_owned()) {
            wrong.push(format!("{text}: estimated {estimate:?}, not {min}..{max}"));
        }
        let authorizer = crate::Extension::Authorizer(crate::Subject::new(&Denies, crate::Check::default()));
        let evaluated = program.evaluate(&Activation::new().with("authorizer", Value::Extension(authorizer)));
        if evaluated.result.is_err() || evaluated.cost.to_string() != cost {
            wrong.push(format!("{text}: cost {}, not {cost} ({:?})", evaluated.cost, evaluated.result.err()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
