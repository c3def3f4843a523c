import { describe, expect, test } from "vitest";
import { type Address, parseAddress } from "../ip/address.ts";
import { conditionElement } from "./hostport-elements.ts";
import type { HostPort } from "./hostports.ts";
import { emptyRecord, type FilterElement, type FilterRecord } from "./record.ts";
import { formatFilterRecord, parseFilterRecord } from "./record-text.ts";
import { awaitedPart, withClaims, withoutAwaited } from "./siblings.ts";

const address = (text: string): Address => parseAddress(text) as Address;
const pod = address("10.1.0.5");

function published(hostPort: number, other: Partial<HostPort> = {}): HostPort {
  return { protocol: "tcp", hostPort, hostIp: null, pod, containerPort: 80, ...other };
}

function record(ports: readonly HostPort[], elements: readonly FilterElement[] = []): FilterRecord {
  const owner = { network: "net", containerId: "c1", ifname: "eth1", plugin: "portmap" };
  return { ...emptyRecord(owner, { device: 4, inode: 5, path: "/run/netns/a b" }, 7), ports, elements };
}

describe("what overlaps with a port that another interface has", () => {
  const any = published(80);
  const one = published(80, { hostIp: address("192.0.2.1") });
  const other = published(80, { hostIp: address("192.0.2.2") });
  const condition = conditionElement(one, "conditions-net");
  const hairpin: FilterElement = { table: "inet", set: "hairpin4", key: "10.1.0.5 . 10.1.0.5", data: "" };
  const listener: FilterElement = { table: "inet", set: "listeners4", key: "192.0.2.9 . tcp . 80", data: "" };
  const listeners: FilterElement[] = [
    listener,
    { ...listener, key: "192.0.2.9 . tcp . 8080" },
    { ...listener, key: "192.0.2.9 . udp . 80" },
    { ...listener, set: "listeners6", key: "fd77::1 . tcp . 80" },
  ];

  test.each([
    ["the same port", any, [any]],
    ["one address of it", one, [any]],
    ["another port", published(8080), []],
    ["another protocol", published(80, { protocol: "udp" }), []],
    ["the other IP version", published(80, { pod: address("fd00::5") }), []],
  ])("%s, of a port for all addresses", (_name, taken, expected) => {
    expect(awaitedPart(record([any], [hairpin]), [taken])).toEqual({ ports: expected, elements: [] });
  });

  test("of ports for single addresses those only, with their conditions", () => {
    expect(awaitedPart(record([one, other], [condition]), [one])).toEqual({ ports: [one], elements: [condition] });
    expect(awaitedPart(record([one, other], listeners), [any])).toEqual({ ports: [one, other], elements: [] });
  });

  test("of ports for all addresses with their listeners", () => {
    expect(awaitedPart(record([any], listeners), [one])).toEqual({ ports: [any], elements: [listener] });
  });

  test("is waited for and comes back, through the record's file too", () => {
    const wanted = record([any], [hairpin, listener]);
    const awaited = awaitedPart(wanted, [any]);
    const kept = { ...withoutAwaited(wanted, awaited), waiters: ["0123456789abcdef.portmap"] };
    expect(kept).toMatchObject({ ports: [], elements: [hairpin], claims: [any], claimElements: [listener] });
    const read = parseFilterRecord(formatFilterRecord(kept));
    expect(read).toEqual({ record: kept, intact: true, hasChecksum: true, unknownLines: [] });
    expect(withClaims(kept)).toMatchObject({
      ports: [any],
      elements: [hairpin, listener],
      claims: [],
      claimElements: [],
    });
  });

  test.each(["heir", "heir ../../etc/passwd", "heir 0123456789abcdef.port/map", "heir 0123456789abcdefX.portmap"])(
    "a record's line %j is left out",
    (line) => {
      const text = formatFilterRecord(record([any])).replace("end\n", `${line}\nend\n`);
      const read = { record: record([any]), intact: false, hasChecksum: true, unknownLines: [line] };
      expect(parseFilterRecord(text)).toEqual(read);
    },
  );
});
