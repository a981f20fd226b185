"""What the slots of a template are filled with. An entry may hold slots itself; one named n3_9 is a number."""


def table(text: str) -> tuple[str, ...]:
    """Entries, one a line or parted by commas."""
    return tuple(entry.strip() for line in text.strip().splitlines() for entry in line.split(",") if entry.strip())


WORDS = {
    "drug": table("""
        metoprolol, lisinopril, amlodipine, atorvastatin, metformin, omeprazole, furosemide, levothyroxine
        sertraline, gabapentin, paracetamol, ibuprofen, losartan, simvastatin, bisoprolol, ramipril, pantoprazole
        allopurinol, tamsulosin, citalopram, mirtazapine, doxycycline, amoxicillin, cefuroxime, salbutamol
        tiotropium, budesonide, insulin glargine, gliclazide, spironolactone, hydrochlorothiazide, folic acid
        ferrous sulphate, colecalciferol, loratadine, cetirizine, diazepam, zopiclone, tramadol, oxycodone
        naproxen, celecoxib, prednisolone, methotrexate
    """),
    "dose": table("""
        2.5 mg, 5 mg, 10 mg, 12.5 mg, 20 mg, 25 mg, 40 mg, 50 mg, 75 mg, 100 mg, 250 mg, 500 mg, 850 mg
    """),
    "often": table("""
        once daily, twice daily, three times daily, at night, in the morning, as needed, with meals, weekly
    """),
    "route": table("by mouth, under the skin, inhaled, into a vein, as a patch"),
    "allergen": table("""
        penicillin, latex, sulphonamides, peanuts, iodine, codeine, adhesive tape, shellfish, grass pollen
    """),
    "reaction": table("rash, itching, nausea, swelling of the lips, hives, wheezing, dizziness, stomach cramps"),
    "surname": table("""
        Abara, Bennett, Castillo, Dufour, Eriksen, Farouk, Grady, Hoffmann, Ivanova, Jensen, Kowalski, Lindqvist
        Moreau, Nakamura, Okafor, Petrov, Quinlan, Rossi, Sandhu, Takahashi, Ueda, Varga, Whitlock, Yilmaz
        Zielinski, Almeida, Brandt, Chowdhury, Delgado, Fitzroy, Galanis, Hartley, Ibrahim, Jovanovic, Keane
        Larsson, Mbeki, Novak, Osei
    """),
    "given": table("""
        Anna, Bilal, Clara, David, Elif, Felix, Grace, Hugo, Ines, Jonas, Karin, Leon, Maria, Nadia, Oscar, Paula
        Rafael, Sofia, Tomas, Ursula, Viktor, Wanda, Yusuf, Zoe, Amir, Beatrix, Carlos, Dana, Emil, Frida, Georg
        Helena
    """),
    "initial": table("A., B., C., D., E., F., G., H., J., K., L., M., N., P., R., S., T., V., W."),
    "doctor": ("Dr. {surname}", "Dr. {initial} {surname}"),
    "month": table("""
        January, February, March, April, May, June, July, August, September, October, November, December
    """),
    "year": table("""
        1987, 1991, 1994, 1996, 1998, 2001, 2003, 2004, 2006, 2007, 2009, 2010, 2011, 2012, 2013, 2014, 2015
    """),
    "weekday": table("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday"),
    "date": ("{n1_28} {month} {n2016_2023}",),
    "clock": ("{n6_9}:{n10_59}", "{n10_22}:{n10_59}"),
    "relative": table("""
        maternal aunt, paternal uncle, older brother, younger sister, maternal grandfather, paternal grandmother
        a cousin, an aunt, an uncle, one brother, one sister, a half sister, a nephew
    """),
    "test": table("""
        ultrasound, tomography, blood tests, a second reading, serial films, a specialist, magnetic resonance
    """),
    "job": table("""
        teacher, bus driver, electrician, accountant, carpenter, nurse, gardener, farmer, cook, librarian, welder
        painter, shop assistant, postman, plumber, translator, musician, office clerk, tailor, mechanic, cleaner
        baker
    """),
    "home": table("""
        a flat on the {n4_9}th floor, a house with a garden, sheltered housing, a terraced house, a farmhouse
    """),
    "pet": table("a dog, two cats, a canary, three hens, a tortoise, no pets, an old cat"),
    "hobby": table("""
        swimming, chess, gardening, knitting, walking, choir singing, reading, cycling, fishing, baking
    """),
    "complaint": table("""
        fatigue, poor sleep, back pain, itchy skin, heartburn, joint stiffness, dry mouth, constipation, dry eyes
        blurred vision, ringing in the ears, knee pain, dizziness on standing, bloating, muscle cramps, night sweats
        loss of appetite, sore throat, neck stiffness, hoarseness, hip pain, mild headache, ankle swelling
        tingling fingers
    """),
    "problem": table("""
        asthma, gout, migraine, eczema, psoriasis, hypothyroidism, osteoarthritis, gallstones, kidney stones
        glaucoma, type 2 diabetes, high blood pressure, high cholesterol, reflux disease, hay fever, anaemia
        osteoporosis, enlarged prostate, cataract, shingles, irritable bowel, carpal tunnel syndrome
        varicose veins, tinnitus
    """),
    "operation": table("""
        appendectomy, tonsillectomy, hernia repair, knee replacement, hip replacement, cataract surgery
        cholecystectomy, hysterectomy, carpal tunnel release, vasectomy, wisdom tooth removal, meniscus repair
        bunion surgery
    """),
    "area": table("""
        abdomen, neck, skin, throat, ears, spine, joints, thyroid, lymph nodes, mouth, eyes, legs, hands, back
    """),
    "normal": table("""
        unremarkable, within normal limits, without abnormality, soft and not tender, as at the last visit
    """),
    "organ": table("""
        liver, spleen, kidneys, pancreas, bladder, gallbladder, aorta, bowel, stomach, thyroid, adrenal glands
    """),
    "aspect": table("""
        normal in size, smooth in outline, homogeneous, well perfused, unchanged, without focal lesion
    """),
    "view": table("""
        plain film, ultrasound, tomography with contrast, tomography without contrast, magnetic resonance
    """),
    "region": table("abdomen, pelvis, chest, lumbar spine, right knee, left hip, head, neck, shoulder, wrist"),
    "bone": table("""
        degenerative change of the spine, an old rib fracture, a bone island, mild scoliosis, a calcified node
    """),
    "service": table("""
        physiotherapy, the dietician, social services, occupational therapy, the diabetes nurse, dermatology
        ophthalmology, the pain clinic, urology, the memory clinic, podiatry, the sleep laboratory, the dentist
        community nursing
    """),
    "advice": table("""
        drink two litres a day, keep a diary of symptoms, avoid heavy lifting, walk for {n10_40} minutes each day
        keep the leg raised, cut down on salt, weigh every morning, bring all tablets to the next visit
        avoid alcohol for {n2_8} weeks, stop smoking, eat smaller meals, wear loose clothing
    """),
    "mood": table("calm, talkative, tired, cheerful, anxious, drowsy, comfortable, restless, cooperative"),
    "food": table("""
        porridge, soup and bread, a full meal, half of the lunch, yoghurt, toast and tea, very little, a sandwich
    """),
}
