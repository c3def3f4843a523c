/**
 * The encoders against what tc(8) of iproute2 6.1 sends, and the decoders against what Linux 6.18 answers, both as strace
 * showed them. The link has index 5, the ifb 7. What is attributes inside attributes, by number, is told to `treeOf`.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Prefix, parsePrefix } from "../ip/address.ts";
import { MessageWriter } from "./message-writer.ts";
import { NLM_F_ACK, NLM_F_REQUEST } from "./netlink.ts";
import {
  burstTicks,
  decodeQdisc,
  type TokenBucket,
  writeClsact,
  writeDeleteRoot,
  writeFairQueue,
  writeTokenBucket,
} from "./qdisc.ts";
import type { NetlinkSocket } from "./socket.ts";
import { decodeFilter, describeKeys, type TcFilter, writeDeleteFilters, writeMatchAll, writeU32 } from "./tc-filter.ts";

/** A message: type, flags, struct tcmsg, kind, and the options in hex digits. */
interface Written {
  readonly type: number;
  readonly flags: number;
  readonly fixed: readonly number[];
  readonly kind: string;
  readonly options: string;
}

const NESTED_FLAG = 0x8000;

/** Attributes without the flag that says whether they hold others: tc sets it in some places only. */
function withoutFlags(bytes: Buffer, nested: Readonly<Record<number, object>>): string {
  const copy = Buffer.from(bytes);
  for (let at = 0; at + 4 <= copy.length; at += (copy.readUInt16LE(at) + 3) & ~3) {
    const type = copy.readUInt16LE(at + 2) & ~NESTED_FLAG;
    copy.writeUInt16LE(type, at + 2);
    const inner = nested[type];
    if (inner === undefined) continue;
    const end = at + copy.readUInt16LE(at);
    const cleared = withoutFlags(copy.subarray(at + 4, end), inner as Record<number, object>);
    Buffer.from(cleared, "hex").copy(copy, at + 4);
  }
  return copy.toString("hex");
}

const ACTION = { 1: { 2: {} } };

function written(encode: (socket: NetlinkSocket) => void, nested: Readonly<Record<number, object>> = {}): Written {
  const writer = new MessageWriter();
  const request = (type: number, flags: number): MessageWriter => {
    writer.begin(type, flags | NLM_F_REQUEST | NLM_F_ACK);
    return writer;
  };
  encode({ request } as unknown as NetlinkSocket);
  const bytes = Buffer.from(writer.bytes);
  expect(bytes.readUInt32LE(0)).toBe(bytes.length);
  let kind = "";
  let options = "";
  for (let at = 36; at + 4 <= bytes.length; at += (bytes.readUInt16LE(at) + 3) & ~3) {
    const value = bytes.subarray(at + 4, at + bytes.readUInt16LE(at));
    if ((bytes.readUInt16LE(at + 2) & ~NESTED_FLAG) === 1) kind = value.toString().replace(/\0$/, "");
    else options = withoutFlags(value, nested);
  }
  const fixed = [16, 20, 24, 28, 32].map((at) => bytes.readUInt32LE(at));
  return { type: bytes.readUInt16LE(4), flags: bytes.readUInt16LE(6), fixed, kind, options };
}

const prefix = (text: string): Prefix => parsePrefix(text) as Prefix;
const filter = (more: Partial<TcFilter>): TcFilter => ({
  ...{ hook: "ingress", priority: 60000, subnet: null, tag: 0, end: "destination", through: 7 },
  ...more,
});

const REDIRECT =
  "34000100" +
  "0b0001006d697272656400002400020020000200" +
  "000000000000000004000000000000000000000001000000" +
  "07000000";

describe("what tc sends", () => {
  test("qdisc add dev ... clsact", () => {
    expect(written((socket) => writeClsact(socket, 5))).toEqual({
      ...{ type: 36, flags: 0x605, fixed: [0, 5, 0xffff0000, 0xfffffff1, 0], kind: "clsact", options: "" },
    });
  });

  test("qdisc del dev ... root", () => {
    expect(written((socket) => writeDeleteRoot(socket, 5))).toEqual({
      ...{ type: 37, flags: 0x5, fixed: [0, 5, 0, 0xffffffff, 0], kind: "", options: "" },
    });
  });

  test("qdisc ... fq_codel limit 100 target 12500us interval 100ms", () => {
    const queue = { packets: 100, targetUs: 12500, intervalUs: 100_000 };
    expect(written((socket) => writeFairQueue(socket, 5, queue))).toEqual({
      ...{ type: 36, flags: 0x505, fixed: [0, 5, 0x70780000, 0x70770001, 0], kind: "fq_codel" },
      options: "080002006400000008000300a086010008000100d4300000",
    });
  });

  test("filter add ... protocol all u32 match u32 0 0 action mirred egress redirect", () => {
    expect(written((socket) => writeU32(socket, 5, filter({})), { 7: ACTION })).toEqual({
      ...{ type: 44, flags: 0x605, fixed: [0, 5, 0, 0xfffffff2, 3932160768], kind: "u32" },
      options: `38000700${REDIRECT}2400050001000100000000000000000000000000${"00".repeat(16)}`,
    });
  });

  test("filter add ... protocol all matchall action mirred egress redirect", () => {
    expect(written((socket) => writeMatchAll(socket, 5, filter({ priority: 60001 })), { 2: ACTION })).toEqual({
      ...{ type: 44, flags: 0x605, fixed: [0, 5, 0, 0xfffffff2, 3932226304], kind: "matchall" },
      options: `38000200${REDIRECT}`,
    });
  });

  test("filter add ... protocol ip u32 match ip dst 10.0.0.0/8 flowid 1:1", () => {
    const passing = filter({ priority: 59998, subnet: prefix("10.0.0.0/8"), through: 0 });
    expect(written((socket) => writeU32(socket, 5, passing))).toEqual({
      ...{ type: 44, flags: 0x605, fixed: [0, 5, 0, 0xfffffff2, 3932028936], kind: "u32" },
      options: "0800010001000100240005000100010000000000000000000000000" + "0ff0000000a0000001000000000000000",
    });
  });

  test("filter add ... protocol ipv6 u32 match ip6 dst fd00::/20 action mirred egress redirect", () => {
    const sent = written((socket) => writeU32(socket, 5, filter({ priority: 59999, subnet: prefix("fd00::/20") })), {
      7: ACTION,
    });
    expect(sent).toEqual({
      ...{ type: 44, flags: 0x605, fixed: [0, 5, 0, 0xfffffff2, 3932151174], kind: "u32" },
      options: `38000700${REDIRECT}2400050001000100000000000000000000000000fffff000fd0000001800000000000000`,
    });
  });

  test("filter del ... ingress prio 60000", () => {
    expect(written((socket) => writeDeleteFilters(socket, 5, "ingress", 60000))).toEqual({
      ...{ type: 45, flags: 0x5, fixed: [0, 5, 0, 0xfffffff2, 3932160000], kind: "", options: "" },
    });
  });
});

describe("a token bucket", () => {
  const bucket: TokenBucket = {
    ...{ rateBytesPerSecond: 12_500_000_000, burstBytes: 62500, queueBytes: 31250, packetBytes: 0 },
  };

  test("has its rate in 64 bits and its burst in bytes", () => {
    expect(written((socket) => writeTokenBucket(socket, 5, bucket))).toEqual({
      ...{ type: 36, flags: 0x505, fixed: [0, 5, 0x70770000, 0xffffffff, 0], kind: "tbf" },
      options:
        "28000100" +
        `0001000000000000ffffffff${"00".repeat(12)}127a00000000000000000000` +
        "0c00040000dd0ee902000000" +
        "0800060024f40000",
    });
  });

  test("has a peak rate that is none where packets are to be cut", () => {
    const { options } = written((socket) => writeTokenBucket(socket, 5, { ...bucket, packetBytes: 1514 }));
    expect(options).toContain("0001000000000000ffffffff0001000000000000ffffffff127a0000");
    expect(options.endsWith("0c0005000000000000100000" + "08000700ea050000")).toBe(true);
  });

  test("is read back", () => {
    const body = Buffer.from(
      `00000000050000000000010000000000ffffffff03000000`.slice(0, 40) +
        "0800010074626600" +
        "38000200280001000001000000000000ffffffff000000000000000000000000127a00004e00000000000000" +
        "0c00040000dd0ee902000000",
      "hex",
    );
    const read = decodeQdisc(new Uint8Array(body));
    expect(read.kind).toBe("tbf");
    expect(read.bucket).toEqual({ rateBytesPerSecond: 12_500_000_000, burstTicks: 78, queueBytes: 31250 });
    expect(burstTicks(bucket)).toBe(78);
  });

  test("fills in a time that the kernel tells modulo 2^32 ticks of 64 ns", () => {
    fc.assert(
      fc.property(fc.integer({ min: 125, max: 2 ** 46 }), fc.integer({ min: 82, max: 2 ** 32 - 1 }), (rate, burst) => {
        const exact = (BigInt(burst) * 1_000_000_000n) / BigInt(rate) / 64n;
        const found = burstTicks({ ...bucket, rateBytesPerSecond: rate, burstBytes: burst });
        expect(Math.abs(found - Number(exact % 0x1_0000_0000n)) % 0xffffffff).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe("a filter", () => {
  /* What the kernel answers is what was sent, with the action's counters and the class behind it. */
  const answer = (sent: Written): Uint8Array => {
    const kind = Buffer.from(`${sent.kind}\0`.padEnd(Math.ceil((sent.kind.length + 1) / 4) * 4, "\0"));
    const options = Buffer.from(sent.options, "hex");
    const head = Buffer.alloc(4);
    head.writeUInt16LE(4 + sent.kind.length + 1, 0);
    head.writeUInt16LE(1, 2);
    const optionsHead = Buffer.alloc(4);
    optionsHead.writeUInt16LE(4 + options.length, 0);
    optionsHead.writeUInt16LE(2, 2);
    const fixed = Buffer.alloc(20);
    for (const [i, word] of sent.fixed.entries()) fixed.writeUInt32LE(word, i * 4);
    return new Uint8Array(Buffer.concat([fixed, head, kind, optionsHead, options]));
  };

  test("is read back with its link, or with none", () => {
    const all = filter({ priority: 60002 });
    expect(decodeFilter(answer(written((socket) => writeMatchAll(socket, 5, all), { 2: ACTION })))).toEqual({
      ...{ kind: "matchall", priority: 60002, through: 7, keys: "" },
    });
    const passing = filter({ subnet: prefix("10.1.0.0/16"), through: 0, end: "source" });
    expect(decodeFilter(answer(written((socket) => writeU32(socket, 5, passing))))).toEqual({
      ...{ kind: "u32", priority: 60000, through: 0, keys: describeKeys(passing) },
    });
  });

  test.each([
    ["10.0.0.0/8", "source", [12]],
    ["10.1.2.3/32", "destination", [16]],
    ["0.0.0.0/0", "source", []],
    ["fd00:db8:abcd:1234:e000::/68", "destination", [24, 28, 32]],
    ["fd00::/32", "source", [8]],
  ] as const)("for %s as %s looks at the right words", (subnet, end, offsets) => {
    const keys = describeKeys(filter({ subnet: prefix(subnet), end }));
    expect(keys === "" ? [] : keys.split(" ").map((key) => Number(key.split("@")[1]))).toEqual(offsets);
  });
});
