import { describe, expect, it } from "vitest";
import { lossIn } from "./losses.ts";
import { NetlinkFormatError } from "./message-reader.ts";

const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const NFT = 10 << 8;
const IFLA_IFNAME = 3;

/** An attribute with a text that ends in NUL, filled up to four bytes. */
function attribute(type: number, text: string): Buffer {
  const value = Buffer.from(`${text}\0`);
  const head = Buffer.alloc(4);
  head.writeUInt16LE(4 + value.length, 0);
  head.writeUInt16LE(type, 2);
  return Buffer.concat([head, value, Buffer.alloc((4 - (value.length % 4)) % 4)]);
}

function link(flags: number, name: string): Uint8Array {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(flags, 8);
  return Buffer.concat([header, attribute(1, "x"), attribute(IFLA_IFNAME, name)]);
}

const message = (type: number, body: Uint8Array) => ({ type, flags: 0, sequence: 0, body });
const table = (name: string) => Buffer.concat([Buffer.from([1, 0, 0, 0]), attribute(1, name)]);

describe("lossIn", () => {
  it("tells of links that were deleted, or are not up", () => {
    expect(lossIn(message(RTM_DELLINK, link(0, "overlay1")))).toEqual({ kind: "link", name: "overlay1", protocol: 0 });
    expect(lossIn(message(RTM_NEWLINK, link(0x1002, "eth0")))).toEqual({
      kind: "link-down",
      name: "eth0",
      protocol: 0,
    });
    expect(lossIn(message(RTM_NEWLINK, link(0x1003, "eth0")))).toBeNull();
  });

  it("tells of routes that were deleted, and who had made them", () => {
    const route = Buffer.alloc(12);
    route[5] = 112;
    expect(lossIn(message(RTM_DELROUTE, route))).toEqual({ kind: "route", name: "", protocol: 112 });
    expect(lossIn(message(RTM_NEWROUTE, route))).toBeNull();
  });

  it("tells of tables that were deleted or have lost a chain, a rule or a set", () => {
    for (const type of [2, 5, 8, 11]) {
      expect(lossIn(message(NFT | type, table("podwire")))).toEqual({ kind: "table", name: "podwire", protocol: 0 });
    }
    /* A new table; an element that was deleted, as with each pod. */
    for (const type of [0, 14]) expect(lossIn(message(NFT | type, table("podwire")))).toBeNull();
  });

  it("refuses messages that are too short", () => {
    expect(() => lossIn(message(RTM_NEWLINK, Buffer.alloc(4)))).toThrow(NetlinkFormatError);
    expect(() => lossIn(message(RTM_DELROUTE, Buffer.alloc(4)))).toThrow(NetlinkFormatError);
  });
});
