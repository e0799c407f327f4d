/** Who may do what, and how it is shown. Pure: the crypto is handed in. */
export { bearerToken, newToken, type Sha256, TokenVerifier } from './token.ts';
