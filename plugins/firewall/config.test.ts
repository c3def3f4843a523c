import { describe, expect, test } from "vitest";
import { CniError } from "../../lib/errors.ts";
import { configuredCall } from "../../testbed/configured-call.ts";
import { type FirewallConfig, readFirewallConfig } from "./config.ts";

const read = (options: object): FirewallConfig => readFirewallConfig(configuredCall("firewall", options));

function failure(options: object): CniError {
  try {
    read(options);
  } catch (error) {
    if (error instanceof CniError) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

const DEFAULTS = { backend: "", adminChain: "CNI-ADMIN", policy: "", markBit: 12 };

test("nothing said is the reference's defaults, and so is an empty text", () => {
  expect(read({})).toEqual(DEFAULTS);
  expect(read({ backend: "", iptablesAdminChainName: "", firewalldZone: "", ingressPolicy: "" })).toEqual(DEFAULTS);
});

test("everything said", () => {
  const said = { iptablesAdminChainName: "NOMAD-ADMIN", ingressPolicy: "same-bridge", forwardMarkBit: 31 };
  expect(read({ backend: "iptables", firewalldZone: "home", ...said })).toEqual({
    ...{ backend: "iptables", adminChain: "NOMAD-ADMIN", policy: "same-bridge", markBit: 31 },
  });
});

describe("refused", () => {
  test.each(["Open", "none", "same_bridge", "isolated "])("policy %s", (ingressPolicy) => {
    expect(failure({ ingressPolicy }).message).toBe(`unknown ingress policy: "${ingressPolicy}"`);
  });

  test.each([
    ...["INPUT", "FORWARD", "OUTPUT", "CNI-FORWARD", "-X", "!X", "A B", "A\nB", 'A"B', "A\\B", "A,B", "Ä"],
    "A".repeat(29),
  ])("chain %j", (iptablesAdminChainName) => {
    expect(failure({ iptablesAdminChainName })).toMatchObject({ code: 7 });
  });

  test("a zone that is no text", () => {
    expect(failure({ firewalldZone: 1 })).toMatchObject({ code: 7 });
  });

  test.each([-1, 13, 14, 15, 32, 1.5, "12"])("mark %j", (forwardMarkBit) => {
    expect(failure({ forwardMarkBit })).toMatchObject({ code: 7 });
  });
});
