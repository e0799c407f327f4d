/** Who may do what, and how it is shown. Pure: the crypto is handed in. */

export {
  requestSigner,
  type SignatureAlgorithm,
  type SignatureVerdict,
  type SignedRequest,
  type SigningKey,
  type VerificationRules,
  type VerifyingKey,
  verifyRequest,
} from './http-signature.ts';
export { NonceMemory } from './nonce-memory.ts';
export { bearerToken, newToken, type Sha256, TokenVerifier } from './token.ts';
