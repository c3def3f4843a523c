/** Reading peers: what a whole file is, what is refused, and that a file cut off anywhere is never taken for a whole one. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Fields } from "../cni/fields.ts";
import { JsonError, parseJson } from "../cni/json.ts";
import { CniError } from "../errors.ts";
import { type Address, formatAddress, formatPrefix, parseAddress } from "../ip/address.ts";
import { formatMac } from "../ip/mac.ts";
import type { Peer } from "./peer.ts";
import type { PeerTable } from "./peer-table.ts";
import { PeersUnavailable, readPeer, vtepMac } from "./peers.ts";
import { parsePeersFile } from "./peers-file.ts";

const address = (text: string): Address => parseAddress(text) as Address;

interface Record {
  readonly nodeIP?: string;
  readonly podCIDRs?: readonly string[];
  readonly mac?: string;
}

function file(records: readonly Record[], header: object = {}): string {
  const first = { generation: 7, complete: true, peers: records.length, ...header };
  return [first, ...records].map((line) => `${JSON.stringify(line)}\n`).join("");
}

const peersOf = (table: PeerTable): Peer[] => Array.from({ length: table.count }, (_, row) => table.peer(row));

const parse = (text: string) => parsePeersFile(new TextEncoder().encode(text), "peers.ndjson");

const TWO: readonly Record[] = [
  { nodeIP: "192.0.2.2", podCIDRs: ["10.244.2.0/24", "fd44:0:0:2::/64"] },
  { nodeIP: "192.0.2.3", podCIDRs: ["10.244.3.0/24", "fd44:0:0:3::/64"], mac: "02:00:00:00:00:03" },
];

describe("a peers file", () => {
  test("tells its generation and its peers", () => {
    const { generation, force, peers } = parse(file(TWO));
    expect({ generation, force }).toEqual({ generation: 7, force: false });
    expect(peersOf(peers).map((peer) => [peer.place, formatMac(peer.mac), ...peer.podCidrs.map(formatPrefix)])).toEqual(
      [
        ["peers.ndjson line 2", "0e:f4:c0:00:02:02", "10.244.2.0/24", "fd44:0:0:2::/64"],
        ["peers.ndjson line 3", "02:00:00:00:00:03", "10.244.3.0/24", "fd44:0:0:3::/64"],
      ],
    );
  });

  test("may have blank lines, further members and no newline at its end", () => {
    const text = file([{ ...TWO[0], name: "node-2" } as Record], { force: true, writer: "cron" });
    const { force, peers } = parse(`\n${text.trimEnd()}`);
    expect(force).toBe(true);
    expect(peersOf(peers).map((peer) => peer.place)).toEqual(["peers.ndjson line 3"]);
  });

  test("may have lines of nothing but blanks, line ends of other systems and a mark in front", () => {
    const text = `\ufeff\r\n${file(TWO).replaceAll("\n", "\r\n \t\r\n")}`;
    expect(peersOf(parse(text).peers).map((peer) => peer.place)).toEqual([
      "peers.ndjson line 4",
      "peers.ndjson line 6",
    ]);
  });

  test.each([
    [
      '{"nodeIP":"192.0.2.300","podCIDRs":["10.244.9.0/24"]}',
      null,
      ["10.244.9.0/24"],
      /line 3\.nodeIP.*192\.0\.2\.300/,
    ],
    [
      '{"nodeIP":"192.0.2.9","podCIDRs":["10.244.9/24","10.9.0.0/16"]}',
      "192.0.2.9",
      ["10.9.0.0/16"],
      /line 3\.podCIDRs\[0\]/,
    ],
    [
      '{"nodeIP":"192.0.2.9","podCIDRs":["127.0.0.0/24"]}',
      "192.0.2.9",
      ["127.0.0.0/24"],
      /127\.0\.0\.0\/8 is for other uses/,
    ],
    ['{"nodeIP":7,"podCIDRs":"x"}', null, [], /line 3\.nodeIP/],
    ['{"nodeIP":"192.0.2.9",}', null, [], /line 3 is not JSON/],
    ["[]", null, [], /line 3 is no JSON object/],
  ])("may have a record that is wrong among others: %s", (line, host, cidrs, text) => {
    const [header = "", one = "", two = ""] = file(TWO, { peers: 3 }).split("\n");
    const { peers, rejects } = parse([header, one, line, two, ""].join("\n"));
    expect(peersOf(peers).map((peer) => peer.place)).toEqual(["peers.ndjson line 2", "peers.ndjson line 4"]);
    const found = rejects.map((reject) => [
      reject.host && formatAddress(reject.host),
      reject.podCidrs.map(formatPrefix),
    ]);
    expect(found).toEqual([[host, cidrs]]);
    expect(rejects[0]?.text).toMatch(text);
  });

  test("cut off after any byte but the last newline is not taken for a whole one", () => {
    const bytes = new TextEncoder().encode(file(TWO));
    for (let length = 0; length < bytes.length - 1; length += 1) {
      expect(() => parsePeersFile(bytes.subarray(0, length), "peers.ndjson"), `${length} bytes`).toThrow(
        PeersUnavailable,
      );
    }
    expect(parsePeersFile(bytes.subarray(0, bytes.length - 1), "peers.ndjson").peers.count).toBe(2);
  });

  test.each([
    ["", "peers.ndjson is empty"],
    ["\0\0\0\0", "line 1 is not JSON"],
    ["[]\n", "line 1 is no JSON object"],
    [file(TWO, { complete: false }), 'line 1 should be {"generation"'],
    [file(TWO, { peers: 3 }), "says it holds 3 peers, but ends after 2"],
    [file(TWO, { peers: 1 }), "holds more than the 1 peers it says"],
    [JSON.stringify(TWO[0]), "line 1 should be"],
  ])("that is not whole is not used: %j", (text, problem) => {
    expect(() => parse(text)).toThrow(PeersUnavailable);
    expect(() => parse(text)).toThrow(problem);
  });

  test("of arbitrary bytes is refused, never misread", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          parsePeersFile(bytes, "p");
        } catch (error) {
          expect(error instanceof PeersUnavailable || error instanceof CniError).toBe(true);
        }
      }),
    );
  });
});

describe("a record", () => {
  const read = (text: string) =>
    readPeer(new Fields(parseJson(new TextEncoder().encode(text)), "peers[3]"), "peers[3]");

  test.each<readonly [string, string]>([
    ['{"podCIDRs":["10.1.0.0/24"]}', "peers[3].nodeIP"],
    ['{"nodeIP":"192.0.2.300"}', "peers[3].nodeIP"],
    ['{"nodeIP":"127.0.0.1"}', "peers[3].nodeIP"],
    ['{"nodeIP":"224.0.0.1"}', "peers[3].nodeIP"],
    ['{"nodeIP":"0.0.0.0"}', "peers[3].nodeIP"],
    ['{"nodeIP":"::1"}', "peers[3].nodeIP"],
    ['{"nodeIP":"ff02::1"}', "peers[3].nodeIP"],
    ['{"nodeIP":"::ffff:192.0.2.2"}', "peers[3].nodeIP"],
    ['{"nodeIP":"255.255.255.255"}', "peers[3].nodeIP"],
    ['{"nodeIP":"192.0.2.2","podCIDRs":["0.0.0.0/0"]}', "peers[3].podCIDRs[0]"],
    ...[
      "0.0.0.0/24",
      "127.0.5.0/24",
      "112.0.0.0/4",
      "169.254.7.0/24",
      "224.0.0.0/24",
      "::/64",
      "fe80:1::/64",
      "ff02::/64",
    ].map((cidr) => [`{"nodeIP":"192.0.2.2","podCIDRs":["${cidr}"]}`, "peers[3].podCIDRs[0]"] as const),
    ['{"nodeIP":"192.0.2.2","podCIDRs":["10.1.0.0"]}', "peers[3].podCIDRs[0]"],
    ['{"nodeIP":"192.0.2.2","podCIDRs":[7]}', "peers[3].podCIDRs[0]"],
    ['{"nodeIP":"192.0.2.2","mac":"01:00:00:00:00:01"}', "peers[3].mac"],
    ['{"nodeIP":"192.0.2.2","mac":"nonsense"}', "peers[3].mac"],
  ])("that is wrong is refused by its field: %s", (text, field) => {
    expect(() => read(text)).toThrow(`invalid value for "${field}"`);
  });

  test("has networks without host bits, and may have none yet", () => {
    expect(read('{"nodeIP":"192.0.2.2","podCIDRs":["10.1.0.77/24"]}').podCidrs.map(formatPrefix)).toEqual([
      "10.1.0.0/24",
    ]);
    expect(read('{"nodeIP":"192.0.2.2"}').podCidrs).toEqual([]);
  });
});

describe("records of the usual kind, which are read without making objects", () => {
  const address4 = fc.ipV4();
  const address6 = fc.ipV6();
  const cidr = fc.oneof(
    fc.tuple(address4, fc.integer({ min: 0, max: 33 })).map(([ip, length]) => `${ip}/${length}`),
    fc.tuple(address6, fc.integer({ min: 0, max: 130 })).map(([ip, length]) => `${ip}/${length}`),
    fc.constantFrom("10.0.0.0/08", "10.0.0.0/", "/8", "10.0.0.0", "", "::ffff:1:2/120", "::/4", "100::/4", "f00::1/5"),
  );
  const key = fc.constantFrom("nodeIP", "NODEIP", "podCIDRs", "mac", "name", "", "\u0000", 'a"b', "n\u00f6de");
  const value = fc.oneof(
    address4,
    address6,
    fc.array(cidr, { maxLength: 3 }),
    fc.constantFrom(7, null, true, "x\\y", "02:00:00:00:00:07"),
  );
  const members = fc.array(fc.tuple(key, value), { maxLength: 4 });
  const sound = fc.tuple(fc.oneof(address4, address6), fc.array(cidr, { maxLength: 3 })).map(
    ([ip, cidrs]) =>
      [
        ["nodeIP", ip],
        ["podCIDRs", cidrs],
      ] as [string, unknown][],
  );
  const blank = fc.constantFrom("", " ", "\t ", "\r");

  test("are what the careful reader makes of them", () => {
    const said = (action: () => Peer): string => {
      try {
        const { nodeIp, podCidrs, mac } = action();
        return [formatAddress(nodeIp), formatMac(mac), ...podCidrs.map(formatPrefix)].join(" ");
      } catch (error) {
        if (error instanceof CniError || error instanceof PeersUnavailable || error instanceof JsonError)
          return "refused";
        throw error;
      }
    };
    fc.assert(
      fc.property(
        fc.tuple(sound, members).map(([a, b]) => [...a, ...b]),
        fc.nat(2),
        blank,
        fc.boolean(),
        (pairs, from, gap, cut) => {
          const chosen = pairs.slice(from === 2 ? 1 : 0);
          const body = chosen
            .map(([name, item]) => `${gap}${JSON.stringify(name)}${gap}:${gap}${JSON.stringify(item)}${gap}`)
            .join(",");
          const line = `${gap}{${body}}${gap}`.slice(0, cut ? -2 : undefined);
          const careful = said(() => readPeer(new Fields(parseJson(new TextEncoder().encode(line)), "x"), "x"));
          const quick = said(() => {
            const { peers, rejects } = parse(`{"generation":1,"complete":true,"peers":1}\n${line}\n`);
            if (rejects.length > 0) throw new PeersUnavailable("refused");
            return peers.peer(0);
          });
          expect(quick).toBe(careful);
        },
      ),
      { numRuns: 3000 },
    );
  });
});

describe("a file of records of both kinds", () => {
  test("is read as its lines are one by one, however they end", () => {
    const address = fc.nat(0xffff).map((n) => `192.0.${n >> 8}.${n & 255}`);
    const cidrs = fc.array(
      fc.nat(0xffff).map((n) => `10.${n >> 8}.${n & 255}.0/24`),
      { maxLength: 3 },
    );
    /* A "mac" is for the careful reader; "" is an empty line. */
    const line = fc.oneof(
      fc.tuple(address, cidrs).map(([nodeIP, podCIDRs]) => JSON.stringify({ nodeIP, podCIDRs })),
      fc.tuple(address, cidrs).map(([nodeIP, podCIDRs]) => JSON.stringify({ podCIDRs, name: "a", nodeIP })),
      address.map((nodeIP) => JSON.stringify({ nodeIP, mac: "02:00:00:00:00:07" })),
      fc.constant(""),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), fc.constantFrom("\n", ""), (lines, last) => {
        const records = lines.filter((one) => one !== "");
        const text = [JSON.stringify({ generation: 1, complete: true, peers: records.length }), ...lines].join("\n");
        const { peers } = parse(text + last);
        const read = Array.from({ length: peers.count }, (_, row) => peers.peer(row));
        const expected = lines.flatMap((one, i) => {
          if (one === "") return [];
          const place = `peers line ${i + 2}`;
          return [readPeer(new Fields(parseJson(new TextEncoder().encode(one)), place), place)];
        });
        expect(read.map((one) => ({ ...one, place: one.place.replace(/^.* line/, "peers line") }))).toEqual(expected);
      }),
    );
  });
});

describe("a device's Ethernet address", () => {
  test("holds an IPv4 address, and a hash of an IPv6 one", () => {
    expect(formatMac(vtepMac(address("192.0.2.1")))).toBe("0e:f4:c0:00:02:01");
    const macs = ["fd31::1", "fd31::2", "2001:db8::1"].map((text) => formatMac(vtepMac(address(text))));
    expect(new Set(macs).size).toBe(3);
    for (const mac of macs) expect(mac).toMatch(/^0e:/);
  });
});
