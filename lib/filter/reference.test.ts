import { expect, test } from "vitest";
import { masqueradeInstance } from "./reference.ts";

test("the reference's masquerading is found by the hash of interface and container", () => {
  const owner = { network: "renamed since", containerId: "one", ifname: "eth0" };
  /* Its own unit test has the comment "6fd94d501e58f0aa-287fc69eff0574a2, net: unit-test, if: eth0, id: one". */
  expect(masqueradeInstance(owner)).toBe("-287fc69eff0574a2");
});
