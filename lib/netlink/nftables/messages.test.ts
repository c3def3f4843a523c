/** The encoders against what nft(8) sends. */
import { describe, expect, test } from "vitest";
import { splitMessages } from "../message-reader.ts";
import { MessageWriter } from "../message-writer.ts";
import type { Batch } from "../netfilter.ts";
import { NLM_F_EXCL } from "../netlink.ts";
import {
  asked,
  CHAINS,
  ELEMENTS,
  element,
  hex,
  LOCALNET,
  MARKS,
  MASQUERADE4,
  name,
  RULES,
  rule,
  SETS,
  sent,
  table,
  written,
} from "./captured.ts";
import { decodeElements, decodeRule } from "./decode.ts";
import {
  writeDeleteChain,
  writeDeleteElements,
  writeDeleteRule,
  writeDeleteSet,
  writeDeleteTable,
  writeNewChain,
  writeNewElements,
  writeNewRule,
  writeNewSet,
  writeNewTable,
} from "./messages.ts";
import { type Expression, NFPROTO_BRIDGE, NFPROTO_INET, NFT_GOTO } from "./objects.ts";
import { writeGetElement } from "./queries.ts";

/** An attribute as an independent reading has it: its number, and its bytes in hex or the attributes inside. */
type Attribute = readonly [number, string | readonly Attribute[]];

function attributes(bytes: Buffer): Attribute[] {
  const list: Attribute[] = [];
  for (let at = 0; at + 4 <= bytes.length; at += (bytes.readUInt16LE(at) + 3) & ~3) {
    const type = bytes.readUInt16LE(at + 2);
    const value = bytes.subarray(at + 4, at + bytes.readUInt16LE(at));
    list.push([type & 0x3fff, (type & 0x8000) === 0 ? value.toString("hex") : attributes(value)]);
  }
  return list;
}

/** Type, flags and family of a message, and its attributes in order. */
function read(message: Buffer): { header: string; attributes: Attribute[] } {
  return {
    header: `${message.readUInt16LE(4).toString(16)} ${message.readUInt16LE(6).toString(16)} ${message.readUInt32BE(16).toString(16)}`,
    attributes: attributes(message.subarray(20)),
  };
}

/** Leaves out what nft adds needlessly; `drop` says of which attributes, by their path of numbers. */
function without(list: readonly Attribute[], drop: (path: string, value: string) => boolean, path = ""): Attribute[] {
  return list
    .filter(([type, value]) => !drop(`${path}${type}`, typeof value === "string" ? value : ""))
    .map(([type, value]) => [type, typeof value === "string" ? value : without(value, drop, `${path}${type}.`)]);
}

describe("what nft sends", () => {
  test("tables", () => {
    const make = (family: number, comment: string) =>
      written((batch) => writeNewTable(batch, { family, name: table, comment }));
    /* nft adds no NLM_F_CREATE for a table; the kernel makes it either way. */
    const withCreate = (command: string) => {
      const theirs = sent(command);
      theirs.writeUInt16LE(theirs.readUInt16LE(6) | 0x400, 6);
      return read(theirs);
    };
    expect(read(make(NFPROTO_INET, "v1"))).toEqual(withCreate('add table inet podwire { comment "v1"; }'));
    expect(read(make(NFPROTO_BRIDGE, ""))).toEqual(withCreate("add table bridge podwire"));
  });

  test.each(Object.entries(CHAINS))("%s", (command, value) => {
    expect(read(written((batch) => writeNewChain(batch, value)))).toEqual(read(sent(command)));
  });

  test.each(Object.entries(SETS))("%s", (command, value) => {
    const ours = read(written((batch) => writeNewSet(batch, value)));
    const theirs = read(sent(command));
    /* The number (10) is any; of the user data (13) we leave out the types, which are empty, and a zero for intervals. */
    const drop = (path: string) => path === "10" || path === "13";
    expect(without(ours.attributes, drop)).toEqual(without(theirs.attributes, drop));
    expect(ours.header).toBe(theirs.header);
    const userData = ({ attributes: list }: typeof ours) => String(list.find(([type]) => type === 13)?.[1]);
    expect(userData(theirs).startsWith(userData(ours))).toBe(true);
    expect(userData(ours)).toHaveLength(value.data.length > 0 ? 24 : 12);
  });

  /* nft names sets by their numbers too (4), which are any, and counts elements where the kernel has one number. */
  const sameElements = (ours: Buffer, theirs: Buffer) => {
    const drop = (path: string) => path === "4";
    const uncounted = without(read(theirs).attributes, drop).map(([type, value]) => [
      type,
      typeof value === "string" ? value : value.map(([, inner]) => [1, inner]),
    ]);
    expect(without(read(ours).attributes, drop)).toEqual(uncounted);
    expect(read(ours).header).toBe(read(theirs).header);
  };

  test.each(Object.entries(ELEMENTS))("%s", (command, [of, elements]) => {
    sameElements(
      written((batch) => writeNewElements(batch, of, elements)),
      sent(command),
    );
  });

  test("elements that must be new, and deleting some", () => {
    sameElements(
      written((batch) => writeNewElements(batch, LOCALNET, [element(name("eth1"))], NLM_F_EXCL)),
      sent('create element inet podwire localnet { "eth1" }'),
    );
    const gone = [element(name("eth0")), element(name("eth1"), { comment: "any", data: hex("00") })];
    sameElements(
      written((batch) => writeDeleteElements(batch, LOCALNET, gone)),
      sent('delete element inet podwire localnet { "eth0", "eth1" }'),
    );
  });

  test.each(Object.entries(RULES))("%s", (command, value) => {
    const ours = read(written((batch) => writeNewRule(batch, value)));
    const theirs = read(sent(command));
    expect(ours).toEqual({ header: theirs.header, attributes: theirs.attributes.map(plain) });
  });

  /** Leaves out a set's number beside its name, the default operation of bitwise, and NF_NAT_RANGE_PROTO_SPECIFIED. */
  function plain([type, value]: Attribute): Attribute {
    if (type !== 4 || typeof value === "string") return [type, value];
    const needless: Record<string, (field: Attribute) => boolean> = {
      lookup: ([field]) => field === 4,
      bitwise: ([field, bytes]) => field === 6 && bytes === "00000000",
      nat: ([field, bytes]) => field === 7 && bytes === "00000002",
    };
    const expressions = value as readonly [number, readonly [Attribute, Attribute]][];
    return [
      type,
      expressions.map(([list, [expression, [data, fields]]]) => {
        const drop = needless[Buffer.from(String(expression[1]), "hex").toString().replace("\0", "")];
        return [list, [expression, [data, (fields as Attribute[]).filter((field) => !drop?.(field))]]];
      }),
    ];
  }

  test("deleting chains, sets and tables, and flushing a chain", () => {
    const same = (encode: (batch: Batch) => void, command: string) =>
      expect(written(encode).subarray(4)).toEqual(sent(command).subarray(4));
    same((batch) => writeDeleteRule(batch, NFPROTO_INET, "gone", "c", 0n), "flush chain inet gone c");
    same((batch) => writeDeleteRule(batch, NFPROTO_INET, "gone", "c", 4n), "delete rule inet gone c handle 4");
    same((batch) => writeDeleteChain(batch, NFPROTO_INET, "gone", "c"), "delete chain inet gone c");
    same((batch) => writeDeleteSet(batch, NFPROTO_INET, "gone", "s"), "delete set inet gone s");
    same((batch) => writeDeleteTable(batch, NFPROTO_INET, "gone"), "delete table inet gone");
  });

  test("asking for an element: with the table first, and without asking for an acknowledgement too", () => {
    const theirs = read(sent("get element inet podwire masquerade4 { 10.1.0.5 }"));
    const ours = read(asked((socket) => writeGetElement(socket, MASQUERADE4, hex("0a010005"))));
    expect(ours.header).toBe(theirs.header.replace(" 5 ", " 1 "));
    expect(ours.attributes).toEqual(theirs.attributes.toSorted(([a], [b]) => a - b));
  });
});

describe("limits", () => {
  function requests(encode: (batch: Batch) => number): { count: number; messages: Buffer[] } {
    const writer = new MessageWriter();
    const batch = {
      request(type: number, flags: number): MessageWriter {
        writer.begin(type, flags);
        return writer;
      },
    };
    const count = encode(batch as unknown as Batch);
    return { count, messages: splitMessages(writer.bytes).map((message) => Buffer.from(message.body)) };
  }

  test("many elements go in several requests", () => {
    const elements = Array.from({ length: 5000 }, (_, i) =>
      element(hex(`0a01${i.toString(16).padStart(4, "0")}`), { verdict: { code: NFT_GOTO, chain: "m" }, comment: "c" }),
    );
    const { count, messages } = requests((batch) => writeNewElements(batch, MASQUERADE4, elements));
    expect(count).toBe(messages.length);
    expect(count).toBeGreaterThan(1);
    expect(messages.flatMap((bytes) => decodeElements(new Uint8Array(bytes)))).toEqual(elements);
    for (const bytes of messages) {
      const list = attributes(bytes.subarray(4)).map(([type]) => type);
      expect(list).toEqual([1, 2, 3]);
    }
  });

  test("no elements, no request", () => {
    expect(requests((batch) => writeDeleteElements(batch, MARKS, [])).count).toBe(0);
  });

  test("a comment of 254 bytes is the longest", () => {
    const make = (comment: string) => written((batch) => writeNewRule(batch, rule("c", [], comment)));
    const longest = "é".repeat(127);
    expect(decodeRule(new Uint8Array(make(longest).subarray(16))).comment).toBe(longest);
    expect(() => make(`${longest}x`)).toThrow(RangeError);
  });
});

test("notrack is written as nft writes it, a name without fields", () => {
  const expressions: Expression[] = [{ kind: "notrack" }];
  const bytes = written((batch) => writeNewRule(batch, rule("n", expressions)));
  expect(bytes.subarray(-20).toString("hex")).toBe("14000480100001800c0001006e6f747261636b00");
});
