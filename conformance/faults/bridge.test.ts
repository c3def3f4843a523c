/** bridge under faults, with all its protections and addresses of both families from host-local in the same process. */
import { BRIDGE } from "./subjects.ts";
import { describeFaults } from "./suite.ts";

describeFaults(BRIDGE);
