import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatMac } from "../ip/mac.ts";
import { aliasPrefix, attachmentNames, derivedLinkName, networkMac } from "./names.ts";

const shown = (network: string, containerId: string, ifname: string) => {
  const { hostLink, hostMac, containerMac, alias } = attachmentNames({ network, containerId, ifname });
  return { hostLink, hostMac: formatMac(hostMac), containerMac: formatMac(containerMac), alias };
};

const name = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}$/);
const ifname = fc.stringMatching(/^[a-z0-9.@_-]{1,15}$/);

describe("an attachment's names", () => {
  /* Pods of an earlier release are found by these names: whoever changes them leaves those pods behind. */
  test("are for ever", () => {
    expect(shown("n1", "a1", "eth0")).toEqual({
      hostLink: "veth8e21930995e",
      hostMac: "ce:a0:0f:a1:ea:af",
      containerMac: "ee:ba:26:7a:e6:51",
      alias: "podwire n1 a1 eth0",
    });
    expect(formatMac(networkMac("n1"))).toBe("ce:a0:0f:a1:ba:02");
    expect(derivedLinkName("vbp", "cni0.100")).toBe("vbpe8b62e5a9299");
    expect(aliasPrefix("n1")).toBe("podwire n1 ");
  });

  test("are such as the kernel takes, and say whose they are", () => {
    fc.assert(
      fc.property(name, name, ifname, (network, containerId, link) => {
        const names = attachmentNames({ network, containerId, ifname: link });
        expect(names.hostLink).toMatch(/^veth[0-9a-f]{11}$/);
        expect(names.alias.length).toBeLessThanOrEqual(255);
        expect(names.alias.startsWith(aliasPrefix(network))).toBe(true);
        for (const mac of [names.hostMac, names.containerMac]) {
          expect(mac).toHaveLength(6);
          expect((mac[0] ?? 0) & 3).toBe(2);
        }
        expect(names.hostMac.slice(0, 3)).toEqual(networkMac(network).slice(0, 3));
        expect(attachmentNames({ network, containerId, ifname: link })).toEqual(names);
      }),
    );
  });

  test("differ between attachments, also where the texts run together", () => {
    const attachments = [
      ["n1", "a1", "eth0"],
      ["n1", "a1", "eth1"],
      ["n1", "a1e", "th0"],
      ["n1a", "1", "eth0"],
      ["n2", "a1", "eth0"],
    ] as const;
    const all = attachments.map(([network, id, link]) => shown(network, id, link));
    for (const key of ["hostLink", "hostMac", "containerMac", "alias"] as const) {
      expect(new Set(all.map((names) => names[key])).size).toBe(attachments.length);
    }
  });

  test("an alias too long for the kernel keeps the network", () => {
    const network = "n".repeat(200);
    expect(shown(network, "c".repeat(200), "eth0").alias).toBe(`podwire ${network} - eth0`);
  });
});

test("a derived link name fits, whatever it stands for", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(derivedLinkName("brv", text)).toMatch(/^brv[0-9a-f]{12}$/);
    }),
  );
});
