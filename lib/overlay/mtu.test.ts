import { describe, expect, test } from "vitest";
import { overhead, overlayMtu } from "./mtu.ts";

describe("what an overlay leaves of a packet", () => {
  test.each([
    ["classic", 4, 50],
    ["classic", 6, 70],
    ["gpe", 4, 36],
    ["gpe", 6, 56],
  ] as const)("%s over IPv%d: %d bytes less", (datapath, underlay, bytes) => {
    expect(overhead(datapath, underlay)).toBe(bytes);
    expect(overlayMtu(datapath, underlay, 1500, [], 0)).toBe(1500 - bytes);
  });

  test("follows the narrowest path, whose IP version counts", () => {
    const paths = [{ mtu: 0, underlay: 4 } as const, { mtu: 1400, underlay: 4 } as const];
    expect(overlayMtu("classic", 4, 1500, paths, 0)).toBe(1350);
    expect(overlayMtu("gpe", 4, 1500, [{ mtu: 0, underlay: 6 }], 0)).toBe(1444);
    expect(overlayMtu("classic", 4, 1500, [{ mtu: 9000, underlay: 4 }], 0)).toBe(1450);
  });

  test("can be asked to be less, not to be more", () => {
    expect(overlayMtu("classic", 4, 1500, [], 1400)).toBe(1400);
    expect(overlayMtu("classic", 4, 1500, [], 1500)).toBe(1450);
  });
});
