/** A connection that requests come by, whatever it speaks. */
export interface ServerConnection {
  /** Takes no further requests than the present ones, or, on a new connection, its first. */
  readonly isDraining: boolean;
  /** Lets the requests under way finish, then closes. Idempotent. */
  drain(): void;
  /** Ends everything now. */
  destroy(): void;
}
