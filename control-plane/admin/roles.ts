/** What a token of the admin API may do; each role may do what those before it may. */
export const roles = ["view", "apply", "admin"] as const;
export type Role = (typeof roles)[number];

/** Whose token a request came with. */
export interface AdminCaller {
  /** Of the token. */
  readonly name: string;
  readonly role: Role;
}

export function isRole(value: unknown): value is Role {
  return (roles as readonly unknown[]).includes(value);
}

export function mayDo(role: Role, needed: Role): boolean {
  return roles.indexOf(role) >= roles.indexOf(needed);
}
