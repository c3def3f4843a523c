import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatLease, formatRecord, isLeaseName, parseLease, parseRecord, recordName } from "./lease.ts";

const attachment = {
  owner: { containerId: "c1", ifname: "eth0" },
  netns: { path: "/run/netns/with space", device: 4, inode: 4026532000 },
  boot: "328782fb-e692-43a5-a22a-058071230b83",
  timeMs: -12,
  addresses: ["10.0.0.1", "fd00::1"],
};

describe("lease files", () => {
  it("are the reference plugin's", () => {
    expect(formatLease(attachment.owner)).toBe("c1\r\neth0");
    expect(parseLease("c1\r\neth0")).toEqual(attachment.owner);
    expect(parseLease(" c1\neth0 \n")).toEqual(attachment.owner);
    expect(formatLease({ containerId: "old", ifname: "" })).toBe("old");
    expect(parseLease("old\n")).toEqual({ containerId: "old", ifname: "" });
  });

  it.each(["", "\n", "\0\0\0", "a b\r\neth0", "/x", "a\nb\nc"])("%j names nobody", (text) => {
    expect(parseLease(text)).toBeNull();
  });

  it("are named by the address as it is printed", () => {
    for (const name of ["10.0.0.1", "fd00::1"]) expect(isLeaseName(name)).toBe(true);
    for (const name of ["lock", "last_reserved_ip.0", ".new", "010.0.0.1", "FD00::1", "fd00:0::1"]) {
      expect(isLeaseName(name)).toBe(false);
    }
  });
});

describe("records", () => {
  it("are printed and read", () => {
    expect(parseRecord(formatRecord(attachment))).toEqual(attachment);
    const empty = { ...attachment, addresses: [], netns: { path: "", device: 0, inode: 0 }, boot: "" };
    expect(parseRecord(formatRecord(empty))).toEqual(empty);
  });

  it("are not read when torn, and never throw", () => {
    const text = formatRecord(attachment);
    for (let end = 0; end < text.length; end += 1) expect(parseRecord(text.slice(0, end))).toBeNull();
    fc.assert(fc.property(fc.string(), (noise) => parseRecord(noise) === null));
    expect(parseRecord(text.replace("since-boot-ms -12", "since-boot-ms x"))).toBeNull();
  });

  it("are named by a hash of container and interface", () => {
    expect(recordName(attachment.owner)).toBe(createHash("sha256").update("c1/eth0").digest("hex").slice(0, 32));
  });
});
