import { describe, expect, it } from "vitest";
import { formatLease, isLeaseName, parseLease } from "./leases.ts";

const owner = { containerId: "c1", ifname: "eth0" };

describe("lease files", () => {
  it("have the format of the reference plugin", () => {
    expect(formatLease(owner)).toBe("c1\r\neth0");
    expect(parseLease("c1\r\neth0")).toEqual(owner);
    expect(parseLease(" c1\neth0 \n")).toEqual(owner);
    expect(formatLease({ containerId: "old", ifname: "" })).toBe("old");
    expect(parseLease("old\n")).toEqual({ containerId: "old", ifname: "" });
  });

  it.each(["", "\n", "\0\0\0", "a b\r\neth0", "/x", "a\nb\nc"])("%j names no owner", (text) => {
    expect(parseLease(text)).toBeNull();
  });

  it("have the printed form of the address as name", () => {
    for (const name of ["10.0.0.1", "fd00::1"]) expect(isLeaseName(name)).toBe(true);
    for (const name of ["lock", "last_reserved_ip.0", ".new", "010.0.0.1", "FD00::1", "fd00:0::1"]) {
      expect(isLeaseName(name)).toBe(false);
    }
  });
});
