import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatRecord, parseRecord, recordName } from "./records.ts";

const attachment = {
  owner: { containerId: "c1", ifname: "eth0" },
  netns: { path: "/run/netns/with space", device: 4, inode: 4026532000 },
  boot: "328782fb-e692-43a5-a22a-058071230b83",
  timeMs: -12,
  addresses: ["10.0.0.1", "fd00::1"],
};

describe("records", () => {
  it("are formatted and parsed", () => {
    expect(parseRecord(formatRecord(attachment))).toEqual(attachment);
    const empty = { ...attachment, addresses: [], netns: { path: "", device: 0, inode: 0 }, boot: "" };
    expect(parseRecord(formatRecord(empty))).toEqual(empty);
  });

  it("are not parsed when incomplete, and never throw", () => {
    const text = formatRecord(attachment);
    for (let end = 0; end < text.length; end += 1) expect(parseRecord(text.slice(0, end))).toBeNull();
    fc.assert(fc.property(fc.string(), (noise) => parseRecord(noise) === null));
    expect(parseRecord(text.replace("since-boot-ms -12", "since-boot-ms x"))).toBeNull();
  });

  it("have a hash of container and interface as name", () => {
    expect(recordName(attachment.owner)).toBe(createHash("sha256").update("c1/eth0").digest("hex").slice(0, 32));
  });
});
