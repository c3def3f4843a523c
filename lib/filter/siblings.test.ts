import { describe, expect, test } from "vitest";
import { type FilterElement, type FilterRecord, nftablesRecord } from "./record.ts";
import { formatRecord, parseRecord } from "./record-text.ts";
import { overlapping, waiting, withClaims } from "./siblings.ts";

function element(set: string, key: string, data = "10.1.0.5 . 80"): FilterElement {
  return { table: "inet", set, key, data };
}

function record(...elements: FilterElement[]): FilterRecord {
  const owner = { network: "net", containerId: "c1", ifname: "eth1", plugin: "portmap" };
  return nftablesRecord(owner, { device: 4, inode: 5, path: "/run/netns/a b" }, 7, [], elements);
}

describe("what overlaps with a port that another interface has", () => {
  const any = element("hostports4", "tcp . 80");
  const one = element("hostip_hostports4", "192.0.2.1 . tcp . 80");
  const other = element("hostip_hostports4", "192.0.2.2 . tcp . 80");
  const condition = element("hostip_conditional4", "192.0.2.1 . tcp . 80", "goto conditions-net");
  const hairpin = element("hairpin4", "10.1.0.5 . 10.1.0.5", "");

  test.each([
    ["the same port", any, [any]],
    ["one address of it", one, [any]],
    ["another port", element("hostports4", "tcp . 8080"), []],
    ["another protocol", element("hostports4", "udp . 80"), []],
    ["the other IP version", element("hostports6", "tcp . 80"), []],
  ])("%s, of a port for all addresses", (_name, rival, expected) => {
    expect(overlapping(record(any, hairpin), [rival])).toEqual(expected);
  });

  test("of ports for single addresses those only, with their conditions", () => {
    expect(overlapping(record(condition, one, other), [one])).toEqual([one, condition]);
    expect(overlapping(record(one, other), [any])).toEqual([one, other]);
  });

  test("stands in line and comes back, through the record's file too", () => {
    const wanted = record(any, hairpin);
    const kept = { ...waiting(wanted, [any]), heirs: ["0123456789abcdef.portmap"] };
    expect(kept.elements).toEqual([hairpin]);
    expect(kept.claims).toEqual([any]);
    const read = parseRecord(formatRecord(kept));
    expect(read).toEqual({ record: kept, sound: true, summed: true, strange: [] });
    expect(withClaims(kept).elements).toEqual([hairpin, any]);
  });

  test.each(["heir", "heir ../../etc/passwd", "heir 0123456789abcdef.port/map", "heir 0123456789abcdefX.portmap"])(
    "a record's line %j is left out",
    (line) => {
      const text = formatRecord(record(any)).replace("end\n", `${line}\nend\n`);
      expect(parseRecord(text)).toEqual({ record: record(any), sound: false, summed: true, strange: [line] });
    },
  );
});
