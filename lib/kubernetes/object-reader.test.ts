/** Objects out of streams: what is kept, that cuts do not matter, and that nothing exceeds the limits. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatJsonLine, type Json } from "../cni/json.ts";
import { ObjectReader, ObjectReceiver } from "./object-reader.ts";
import { ofEvents, ofList, Selection } from "./selection.ts";

class Recorder extends ObjectReceiver {
  readonly items: string[] = [];
  readonly wholes: string[] = [];

  item(object: Json): void {
    this.items.push(formatJsonLine(object));
  }

  whole(object: Json): void {
    this.wholes.push(formatJsonLine(object));
  }
}

interface Outcome {
  readonly items: readonly string[];
  readonly wholes: readonly string[];
  readonly problem: string;
  readonly isBetween: boolean;
}

function read(input: string | Uint8Array, selection: Selection, cuts: readonly number[] = []): Outcome {
  const recorder = new Recorder();
  const reader = new ObjectReader(selection, recorder);
  const bytes = typeof input === "string" ? Buffer.from(input) : input;
  let start = 0;
  for (const end of [...cuts, bytes.length]) {
    reader.feed(bytes, start, end);
    start = end;
  }
  const { problem, isBetween } = reader;
  return { items: recorder.items, wholes: recorder.wholes, problem, isBetween };
}

const everyByte = (input: string): number[] => Array.from({ length: Buffer.byteLength(input) }, (_, i) => i);
const selectionOf = (...paths: readonly string[][]): Selection => {
  const selection = new Selection();
  for (const path of paths) selection.keep(path);
  return selection;
};
const everything = new Selection();
everything.isWhole = true;

const NODE = selectionOf(
  ["metadata", "name"],
  ["metadata", "annotations", "a/b"],
  ["spec", "podCIDRs"],
  ["status", "addresses", "address"],
);
const node = {
  kind: "Node",
  metadata: { name: "n1", uid: "u", annotations: { "a/b": "c", "x/y": "z" }, managedFields: [{ f: '}]"\\' }] },
  spec: { podCIDR: "10.1.0.0/24", podCIDRs: ["10.1.0.0/24", "fd00::/64"] },
  status: {
    addresses: [
      { type: "InternalIP", address: "192.0.2.1" },
      { type: "Hostname", address: "n1" },
    ],
    images: [{ names: ["é", "\u{1f600}"], sizeBytes: 1.5e9 }],
  },
};
const reducedNode =
  '{"metadata":{"name":"n1","annotations":{"a/b":"c"}},"spec":{"podCIDRs":["10.1.0.0/24","fd00::/64"]},"status":{"addresses":[{"address":"192.0.2.1"},{"address":"n1"}]}}';

describe("what is kept", () => {
  test("members of a tree of names, whatever their order", () => {
    expect(read(JSON.stringify(node), NODE)).toEqual({
      items: [],
      wholes: [reducedNode],
      problem: "",
      isBetween: true,
    });
    const turned = JSON.stringify({ spec: node.spec, metadata: node.metadata });
    expect(read(turned, NODE).wholes).toEqual([
      '{"spec":{"podCIDRs":["10.1.0.0/24","fd00::/64"]},"metadata":{"name":"n1","annotations":{"a/b":"c"}}}',
    ]);
  });

  test("with white space everywhere", () => {
    const pretty = JSON.stringify(node, null, 2);
    expect(read(` ${pretty}\n\n${pretty} `, NODE).wholes).toEqual([reducedNode, reducedNode]);
  });

  test("values of another type than expected are kept as they are", () => {
    const text = '{"metadata":null,"spec":"x","status":[1,{"addresses":5}]}';
    expect(read(text, NODE).wholes).toEqual(['{"metadata":null,"spec":"x","status":[1,{"addresses":5}]}']);
  });

  test("names with escapes, empty names, repeated names", () => {
    const text = '{"spe\\u0063":{"podCIDR\\u0073":[1],"podCIDRs":[2]},"":1,"\\"spec":{}}';
    expect(read(text, NODE).wholes).toEqual(['{"spec":{"podCIDRs":[1],"podCIDRs":[2]}}']);
    expect(read('{"":[1],"a":2}', selectionOf([""])).wholes).toEqual(['{"":[1]}']);
  });

  test("names that are longer than any that is asked for", () => {
    const text = `{"${"n".repeat(5000)}":1,"metadata":{"name":"a"}}`;
    expect(read(text, NODE, everyByte(text)).wholes).toEqual(['{"metadata":{"name":"a"}}']);
  });

  test("nothing, of an object of which nothing is asked for", () => {
    expect(read('{"a":{"b":[]}}', new Selection()).wholes).toEqual(["{}"]);
  });
});

describe("lists", () => {
  const list = ofList(NODE);

  test("of built-in types, and of custom resources, whose metadata come last", () => {
    const metadata = { resourceVersion: "7", continue: "abc", remainingItemCount: 3 };
    const kept = '"metadata":{"resourceVersion":"7","continue":"abc"}';
    const first = read(JSON.stringify({ kind: "NodeList", apiVersion: "v1", metadata, items: [node, node] }), list);
    expect(first.items).toEqual([reducedNode, reducedNode]);
    expect(first.wholes).toEqual([`{"kind":"NodeList",${kept},"items":[]}`]);
    const second = read(JSON.stringify({ apiVersion: "v1", items: [node], kind: "L", metadata }), list);
    expect(second.items).toEqual([reducedNode]);
    expect(second.wholes).toEqual([`{"items":[],"kind":"L",${kept}}`]);
  });

  test("an item is handed on as soon as it is complete", () => {
    const cut = `{"items":[${JSON.stringify(node)}`;
    expect(read(cut, list)).toMatchObject({ items: [reducedNode], wholes: [], isBetween: false });
    expect(read(cut.slice(0, -1), list).items).toEqual([]);
  });

  test("empty, and null", () => {
    expect(read('{"items":[]}', list)).toMatchObject({ items: [], wholes: ['{"items":[]}'] });
    expect(read('{"items":null}', list)).toMatchObject({ items: [], wholes: ['{"items":null}'] });
  });

  test("of whole objects", () => {
    expect(read('{"items":[{"a":[1]},{}]}', ofList(everything)).items).toEqual(['{"a":[1]}', "{}"]);
  });

  test("what is no object is refused", () => {
    for (const item of ["1", "[]", '"a"', "null"]) {
      expect(read(`{"items":[${item}]}`, list).problem, item).toBe("an item of the list is no object");
    }
  });
});

test("events of a watch: type, object, and what a Status or a bookmark says", () => {
  const events = ofEvents(selectionOf(["metadata", "name"]));
  const text = [
    '{"type":"ADDED","object":{"kind":"Node","metadata":{"name":"a","uid":"u","resourceVersion":"5"},"spec":{}}}',
    '{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"6","annotations":{"k8s.io/initial-events-end":"true","x":""}}}}',
    '{"type":"ERROR","object":{"kind":"Status","metadata":{},"status":"Failure","message":"m","reason":"Expired","code":410}}',
    "",
  ].join("\n");
  expect(read(text, events, everyByte(text)).wholes).toEqual([
    '{"type":"ADDED","object":{"kind":"Node","metadata":{"name":"a","resourceVersion":"5"}}}',
    '{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"6","annotations":{"k8s.io/initial-events-end":"true"}}}}',
    '{"type":"ERROR","object":{"kind":"Status","metadata":{},"message":"m","reason":"Expired","code":410}}',
  ]);
});

describe("what is refused", () => {
  test.each([
    ["[]", "not JSON: '[' instead of a top-level value"],
    ["null", "not JSON: 'n' instead of a top-level value"],
    ["{,}", "not JSON: ',' instead of a first name"],
    ['{"a":1,}', "not JSON: '}' instead of a next name"],
    ['{"a" 1}', "not JSON: '1' instead of a colon"],
    ['{"a":}', "not JSON: '}' instead of a value"],
    ['{"a":1 2}', "not JSON: '2' instead of a comma or end"],
    ['{"a":1]', "not JSON: ']' instead of a comma or end"],
    ['{"a":[}', "not JSON: brackets do not match"],
    ['{"a":{"b":[1,2}}', "not JSON: brackets do not match"],
    ['{"metadata":{]', "not JSON: ']' instead of a first name"],
    ['{"metadata":{"name":tru}}', "not JSON: invalid character 't' where a value should begin, line 1 column 21"],
    ['{"metadata":{"name":"\\x"}}', "not JSON: invalid character 'x' after a backslash, line 1 column 23"],
    ['{"\\x":1}', "not JSON: invalid character 'x' after a backslash, line 1 column 3"],
    ["{}\u0001", "not JSON: byte 1 instead of a top-level value"],
  ])("%s", (text, problem) => {
    expect(read(text, NODE).problem).toBe(problem);
    expect(read(text, NODE, everyByte(text)).problem).toBe(problem);
  });
});

describe("limits", () => {
  const nested = (depth: number): string => `{"a":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`;

  test("64 levels, in what is kept and in what is skipped", () => {
    const tooDeep = "nested more than 64 levels deep";
    for (const selection of [new Selection(), selectionOf(["a"]), selectionOf(["a", "b"])]) {
      expect(read(nested(64), selection).problem).toBe("");
      expect(read(nested(65), selection).problem).toBe(tooDeep);
      expect(read(`{"a":${"[".repeat(1_000_000)}`, selection).problem).toBe(tooDeep);
    }
  });

  test("1 MiB of what is kept of an object; after it, others are read", () => {
    const text = (length: number): string => JSON.stringify({ metadata: { name: "x".repeat(length) } });
    const most = 1024 * 1024 - '{"metadata":{"name":""}}'.length;
    expect(read(text(most) + text(1), NODE)).toMatchObject({ problem: "", wholes: [text(most), text(1)] });
    expect(read(text(most + 1), NODE).problem).toBe("what is kept of an object is larger than 1048576 bytes");
  });

  test("8 MiB of an object in all, also in one string that is skipped; each item for itself", () => {
    const piece = Buffer.from("x".repeat(1024 * 1024));
    const readMuch = (before: string, pieces: number, after: string): Outcome => {
      const all = [Buffer.from(before), ...Array.from({ length: pieces }, () => piece), Buffer.from(after)];
      return read(Buffer.concat(all), ofList(NODE));
    };
    expect(readMuch('{"s":"', 7, '"}').problem).toBe("");
    expect(readMuch('{"s":"', 9, '"}').problem).toBe("an object is larger than 8388608 bytes");
    const item = `{"s":"${"x".repeat(3 * 1024 * 1024)}"}`;
    expect(read(`{"items":[${[item, item, item, item].join(",")}]}`, ofList(NODE))).toMatchObject({
      problem: "",
      items: ["{}", "{}", "{}", "{}"],
    });
  });
});

/** What a selection keeps of a value, in the plainest way. */
function reduce(value: unknown, selection: Selection): unknown {
  if (selection.isWhole || typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => reduce(item, selection));
  const kept: [string, unknown][] = [];
  for (const [name, member] of Object.entries(value)) {
    const bytes = Buffer.from(name);
    const below = selection.find(bytes, bytes.length);
    if (below !== null) kept.push([name, reduce(member, below)]);
  }
  return Object.fromEntries(kept);
}

const unit = fc.constantFrom(...'ab 01{}[]:,"\\\u0000\n\u007fé\u2028\ufeff\u{1f600}');
const name = fc.constantFrom("a", "b", "é", "c", 'd"', "e\\");
const value = fc.letrec<{ value: unknown; object: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.string({ unit }),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.constantFrom(true, false, null),
    fc.array(tie("value"), { maxLength: 4 }),
    tie("object"),
  ),
  object: fc.dictionary(name, tie("value"), { maxKeys: 5 }),
}));
const paths = fc.array(fc.array(name, { minLength: 1, maxLength: 3 }), { maxLength: 4 });
const cutsIn = (text: string, places: readonly number[]): number[] =>
  places.map((place) => place % (Buffer.byteLength(text) + 1)).toSorted((a, b) => a - b);

test("what is kept is what JSON.parse and a walk along the names keep, however the bytes are cut", () => {
  fc.assert(
    fc.property(
      fc.array(value.object, { maxLength: 3 }),
      paths,
      fc.array(fc.nat(), { maxLength: 10 }),
      fc.constantFrom(0, 1),
      (objects, names, places, indent) => {
        const selection = selectionOf(...names);
        const text = objects.map((object) => `${JSON.stringify(object, null, indent)}\n`).join("");
        const expected = objects.map((object) => JSON.stringify(reduce(JSON.parse(JSON.stringify(object)), selection)));
        for (const cuts of [[], cutsIn(text, places), everyByte(text)]) {
          const { wholes, problem, isBetween } = read(text, selection, cuts);
          expect({ problem, isBetween }).toEqual({ problem: "", isBetween: true });
          expect(wholes.map((one) => JSON.stringify(JSON.parse(one)))).toEqual(expected);
        }
      },
    ),
    { numRuns: 1000 },
  );
});

test("any bytes are read or refused, however they are cut", () => {
  const pieces = fc.constantFrom(
    ...'{}[]:,"\\ \n1-'.split(""),
    "true",
    '"a"',
    '"a":',
    '{"a":',
    '"items":[',
    "\u0001",
    "é",
  );
  fc.assert(
    fc.property(
      fc.array(pieces, { maxLength: 20 }),
      fc.array(fc.nat(), { maxLength: 5 }),
      paths,
      (list, places, names) => {
        const text = list.join("");
        const selection = ofList(selectionOf(...names));
        const expected = read(text, selection);
        expect(read(text, selection, cutsIn(text, places))).toEqual(expected);
        expect(read(text, selection, everyByte(text))).toEqual(expected);
      },
    ),
    { numRuns: 2000 },
  );
});
