/// A key pair and its signature of `nonce-123`, made with the nkeys package for Python.
struct KnownKey: Sendable {
  var seed: String
  var publicKey: String
  var signature: String
}

/// Of a user, an account and an operator. Only for these tests.
let knownKeys = [
  KnownKey(
    seed: "SUAMGLI4SNKELZLXBO6WMARTAW7NREO6D3YFP77VOPJ6RRXRCBSQWWVTOE",
    publicKey: "UAAROBZ62N67FUZGI5NCCUA6ZNNB5RADEXW7BULHFQYWORDMG7LG66VI",
    signature: "R8dYCUxTo4xDMGocksgs2me38zKa_NV4lhlFDTwotZ2"
      + "o7iu86h-kWYHEHP_j2ULPXwmjxmMAMWlhSzwPiiY2Ag"),
  KnownKey(
    seed: "SAAIVDDYPDHCKQNBA7ZA2UQGQYEN6IYGLAOY37V4MNJW3YWYZ2GK6PLLY4",
    publicKey: "ACJI5VW4A2HRYN5S4WJ2B73AP2JCCLLKL2T3OHL5NIJ6N44TMR54LRSU",
    signature: "00PA2pyd8NRl0ROBVUpS19ukqtUClb-hP96UZtxO3Gx"
      + "VbB8Ss_g4dncnwyoeNIA_XIM6WgFBUm7svR8KGjR2CA"),
  KnownKey(
    seed: "SOAESQLU6IEKHB3AXINAQMVZTKE2OTVV74PGIROS2TMZQL7HE27UM6UR4Q",
    publicKey: "OAQMQ4PE3UJE2R3PID4ZQBXIKJ4BY4T7MCYT3LW4DCXMSDGJHFAB4OGK",
    signature: "MkyMJFH0fXfFyxr3Dlb2AWLgfzrezsQYYjw6lWDVE0F"
      + "7cL5gNbpSUMRoIhtd6HYnesXX4fOQoJo7I6tRFc7dDA"),
]
